"""Tests of semppl.evaluation.results.table."""

from absl.testing import absltest

from semppl.evaluation.results import table as tables

MEASURED = {
    "raw_pixels": {"nearest_neighbours": 0.3, "logistic_regression": 0.4, "logistic_regression_all_labels": 0.9},
    "features": {"nearest_neighbours": 0.2, "logistic_regression": 0.5, "logistic_regression_all_labels": 0.8},
    "projections": {"nearest_neighbours": 0.45, "logistic_regression": 0.4, "logistic_regression_all_labels": 0.6},
}


class TableTest(absltest.TestCase):
    def test_a_column_that_repeats_its_neighbour_is_left_out_and_named(self):
        measured = {"a": {"x": 0.5, "y": 0.5, "z": 0.5, "w": 0.1}, "b": {"x": 0.25, "y": 0.25, "z": 0.25, "w": 0.25}}
        lines = tables.table(measured, "accuracy").splitlines()
        self.assertEqual(
            [line.split() for line in lines[:3]],
            [["accuracy", "x", "w"], ["a", "0.5000", "0.1000"], ["b", "0.2500", "0.2500"]],
        )
        self.assertEqual(lines[3:], ["y: the same as x", "z: the same as x"])

    def test_an_encoder_below_a_floor_is_told_with_both_figures(self):
        floors = {"chance": 0.1, "raw_pixels": 0.4, "colour_histogram": 0.5, "majority_class": 0.6}
        self.assertStartsWith(
            tables.below_floors(MEASURED, floors),
            "warning: the encoder is not above colour histogram (0.5000) and majority class (0.6000): its accuracy is "
            "0.5000 (features, logistic_regression).",
        )
        self.assertEqual(tables.below_floors(MEASURED, {"raw_pixels": 0.49}), "")

    def test_of_one_class_accuracy_says_nothing(self):
        warning = tables.below_floors({"features": {"nearest_neighbours": 1.0}}, {"chance": 1.0, "majority_class": 1.0})
        self.assertStartsWith(warning, "warning: all of these images are of one class")

    def test_hidden_labels_are_compared_only_where_nothing_else_is(self):
        only = {name: {tables.ALL_LABELS: row[tables.ALL_LABELS]} for name, row in MEASURED.items()}
        self.assertEqual(tables.fair_columns(only), [tables.ALL_LABELS])
        self.assertIn("its accuracy is 0.6000", tables.below_floors(only, {"raw_pixels": 0.9}))

    def test_the_row_that_is_served_is_named_and_how_to_serve_the_best_one(self):
        lines = [
            "An export serves the row projections, and answers by a vote, to which nearest_neighbours comes closest (0.4500);",
            "features with logistic_regression (0.5000) is exported with --embedding=features --answers=logistic_regression.",
        ]
        self.assertEqual(tables.served_lines(MEASURED), lines)
        *first, last = tables.served_lines(MEASURED, "test")
        self.assertEqual(first, lines)
        self.assertStartsWith(last, "The best row is chosen on the test images, so that its accuracy is optimistic")
        self.assertEqual(tables.shown_cell(MEASURED), ("features", "logistic_regression"))
        default = {**MEASURED, "projections": {"nearest_neighbours": 0.7}}
        self.assertEqual(
            tables.served_lines(default, "test"),
            ["An export serves the row projections, and answers by a vote, to which nearest_neighbours comes closest."],
        )
        self.assertEqual(tables.shown_cell(default), ("projections", "nearest_neighbours"))
        supervised = {"features": {"nearest_neighbours": 0.7}, "classifier": {"own": 0.8}}
        self.assertIn("serves projections, which have no row here", tables.served_lines(supervised)[0])
        self.assertEqual(tables.shown_cell(supervised), ("classifier", "own"))
        both = MEASURED | {"classifier": {"own": 0.8}}  # of a method that trains a classifier and a projector
        self.assertEqual(tables.shown_cell(both), ("features", "logistic_regression"))

    def test_a_tie_is_the_default_and_what_cannot_be_served_is_not_shown(self):
        tie = {
            "features": {"nearest_neighbours": 0.5, "label_spreading": 0.9},
            "projections": {"nearest_neighbours": 0.5, "logistic_regression": 0.5},
        }
        self.assertEqual(tables.shown_cell(tie), ("projections", "nearest_neighbours"))
        self.assertLen(tables.served_lines(tie), 1)
        self.assertIn("its accuracy is 0.5000", tables.below_floors(tie, {"raw_pixels": 0.6}))
        spread = {name: {"label_spreading": 0.9} for name in ("raw_pixels", "features", "projections")}
        self.assertEqual(tables.shown_cell(spread), ("projections", "label_spreading"))
        self.assertEqual(tables.shown_cell({name: spread[name] for name in ("raw_pixels", "features")})[0], "features")

    def test_a_row_of_leading_dimensions_is_exported_by_their_number(self):
        row = tables.prefix_row(8)
        self.assertEqual(row, "projections[:8]")
        self.assertIn(
            "projections[:8] with class_means (0.9000) is exported with --embedding=projections --embedding_dims=8 "
            "--answers=class_means.",
            tables.served_lines({**MEASURED, row: {"class_means": 0.9}}),
        )

    def test_floors_are_one_line(self):
        self.assertEqual(
            tables.floor_line({"chance": 0.1, "raw_pixels": 0.25}), "floors: chance 0.1000, raw pixels 0.2500"
        )


if __name__ == "__main__":
    absltest.main()
