"""Tests of semppl.evaluation.finetune and of the protocols that it runs."""

import contextlib
import dataclasses
import io
import json
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import flagsaver, parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data import splits
from semppl.data.label_split import visible_labels
from semppl.data.sources import NO_LABEL, ImageSet, Source, load_source
from semppl.evaluation import finetune as program
from semppl.evaluation.finetune import finetune
from semppl.evaluation.protocols import papers, transfer
from semppl.layers.networks import OnlineNetwork
from semppl.programs import command_line, hyperparameter_flags  # noqa: F401  (defines --batch_size)
from semppl.tests import testing, tiny  # noqa: F401  (testing marks the flags as parsed)


def _few_digits(num_classes=3):
    """The first digits of few classes."""
    source = load_source("digits")
    parts = []
    for images, count in ((source.train, 120), (source.test, 40)):
        ids = np.flatnonzero(images.labels < num_classes)[:count]
        parts.append(ImageSet(images.images[ids], images.labels[ids]))
    return Source(*parts, source.class_names[:num_classes])


def _strangers(source):
    """The same images, but every test label is wrong."""
    return dataclasses.replace(
        source, test=dataclasses.replace(source.test, labels=(source.test.labels + 1) % len(source.class_names))
    )


class FinetuneTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.source = _few_digits()
        self.load = self.enter_context(mock.patch.object(splits, "load_splits", side_effect=lambda _: self.source))
        self.errors = self.enter_context(contextlib.redirect_stderr(io.StringIO()))
        self.workdir = self.run_folder()

    def run_folder(self, **changes):
        """Writes a run with random weights."""
        settings = Hyperparameters(**tiny.settings(**{"labels_per_class": 4, "width": 0.25} | changes))
        workdir = pathlib.Path(self.create_tempdir().full_path)
        (workdir / "hyperparameters.json").write_text(settings.to_json())
        tf.keras.utils.set_random_seed(1)
        online = OnlineNetwork(**settings.network, name="online")
        online.build([None, settings.large_size, settings.large_size, settings.channels])
        checkpoint = tf.train.Checkpoint(model=tf.train.Checkpoint(online=online))
        manager = tf.train.CheckpointManager(
            checkpoint, str(workdir / "checkpoints"), max_to_keep=1, checkpoint_name="step"
        )
        manager.save(checkpoint_number=7)
        return workdir

    def test_an_encoder_that_the_run_froze_is_not_fine_tuned(self):
        frozen = self.run_folder(train="heads", small_views=0, cached_views=2)
        with self.assertRaisesRegex(
            ValueError,
            "^--protocol must be one with a frozen encoder for a run with --train=heads. Received: semi_superv",
        ):
            finetune(frozen, protocol="semi_supervised")

    def test_the_protocols_are_those_of_the_papers(self):
        linear, semi = papers.PROTOCOLS["linear"], papers.PROTOCOLS["semi_supervised"]
        self.assertEqual(
            (linear.frozen, linear.learning_rates, linear.epochs, linear.scaled), (True, (0.3,), (100,), True)
        )
        self.assertEqual((semi.frozen, semi.scaled), (False, False))
        self.assertEqual((semi.learning_rates, semi.epochs), ((0.005, 0.01, 0.02, 0.05, 0.1), (30, 50)))

    def test_a_linear_classifier_learns_from_all_labels_and_the_report_is_written(self):
        with mock.patch.object(papers.ClassifierTraining, "fit", autospec=True, side_effect=_Fit()) as fit:
            report = finetune(self.workdir, "linear", learning_rates=[20.0], epochs=[6], batch_size=30)
        self.assertGreater(report["accuracy"], 0.6)
        header = {"protocol": "linear", "data": "digits", "step": 7, "seed": 0, "train_images": 120, "test_images": 40}
        chosen = {"learning_rate": 20.0, "epochs": 6}
        self.assertEqual(report, header | {"accuracy": report["accuracy"], "chosen": chosen, "held_out": []})
        self.assertEqual(json.loads((self.workdir / "finetune_linear.json").read_text()), report)
        (call,) = fit.call_args_list
        self.assertEqual(call.kwargs["steps"], 24)  # 6 epochs of 120 images, 30 at a time
        self.assertAlmostEqual(call.kwargs["learning_rate"], 20 * 30 / 256)

    def test_all_weights_learn_from_the_runs_own_labels_with_settings_chosen_among_them(self):
        seen = _Fit()
        with mock.patch.object(papers.ClassifierTraining, "fit", autospec=True, side_effect=seen):
            report = finetune(
                self.workdir, "semi_supervised", learning_rates=[1e-9, 0.05], epochs=[1, 20], batch_size=6
            )
        self.assertEqual(report["train_images"], 12)
        cells = [(cell["learning_rate"], cell["epochs"]) for cell in report["held_out"]]
        self.assertEqual(cells, [(1e-9, 1), (1e-9, 20), (0.05, 1), (0.05, 20)])
        best = max(report["held_out"], key=lambda cell: cell["accuracy"])
        self.assertEqual(report["chosen"], {name: best[name] for name in ("learning_rate", "epochs")})
        labelled = visible_labels(self.source.train, labels_per_class=4, seed=0)
        expected = np.bincount(labelled[labelled != NO_LABEL])
        self.assertAllEqual(expected, [4, 4, 4])
        # Of the 4 images of a class one is held out while settings are tried; then all are trained on.
        self.assertEqual([len(ids) for ids in seen.ids], [9, 9, 9, 9, 12])
        self.assertEqual(seen.labels[:-1], [{0, 1, 2}] * 4)

    def test_training_sees_crops_without_photometry_and_with_their_background(self):
        train, levels = self.source.train, np.arange(50, 170)
        grey = np.broadcast_to(levels[:, None, None, None], train.images.shape).astype(np.uint8)
        masks = np.zeros(train.images.shape[:3], np.uint8)  # all is background
        self.source = dataclasses.replace(self.source, train=ImageSet(grey, train.labels, masks=masks))
        workdir = self.run_folder(recipe="imagenet", mask_probability=1.0)
        seen = _Fit()
        with mock.patch.object(papers.ClassifierTraining, "fit", autospec=True, side_effect=seen):
            finetune(workdir, "linear", epochs=[2], batch_size=60)
        images = 255 * np.stack([np.frombuffer(image, np.float32) for image in seen.ids[0]])
        self.assertAllClose(images, np.broadcast_to(np.round(images[:, :1]), images.shape), atol=1e-3)
        self.assertEqual(set(np.round(images[:, 0])), set(levels))

    def test_the_seed_decides_what_is_held_out_and_how_batches_come(self):
        held_out, orders = [], []
        for seed in (0, 0, 1):
            seen = _Fit()
            with mock.patch.object(papers.ClassifierTraining, "fit", autospec=True, side_effect=seen):
                finetune(self.workdir, "linear", learning_rates=[0.1, 0.2], epochs=[1], batch_size=60, seed=seed)
            held_out.append(seen.ids[0])
            orders.append(seen.orders[-1])
        self.assertEqual(held_out[0], held_out[1])
        self.assertNotEqual(held_out[0], held_out[2])
        self.assertEqual(orders[0], orders[1])
        self.assertNotEqual(orders[0], orders[2])

    def test_how_the_run_made_its_batches_does_not_matter(self):
        orders = []
        for changes in ({}, {"accumulate_steps": 8, "class_balance": True}):
            seen = _Fit()
            with mock.patch.object(papers.ClassifierTraining, "fit", autospec=True, side_effect=seen):
                finetune(self.run_folder(**changes), "linear", epochs=[1], batch_size=50)
            orders.append(seen.orders)
        self.assertEqual(*orders)

    def test_test_images_are_prepared_as_the_recipe_says(self):
        settings = Hyperparameters(**tiny.settings(recipe="imagenet", large_size=14))
        pixels = self.source.test.images.repeat(2, axis=1).repeat(2, axis=2)
        self.assertEqual(pixels.shape[1:3], (16, 16))
        test = ImageSet(pixels, self.source.test.labels)
        task = papers.Task(settings, None, self.source.train, test, num_classes=3)
        # 224/256 of 16 pixels are 14; one pixel is cut off at each side, and nothing is left to resize.
        self.assertAllClose(task.mapped(lambda images: images, test), pixels[:, 1:-1, 1:-1], atol=1e-6)

    def test_a_setting_that_ends_in_no_number_is_not_chosen(self):
        losses = iter((float("nan"), 0.5, 0.5))  # of two settings, and of what is chosen
        with (
            mock.patch.object(papers, "_fit", side_effect=lambda *_, **__: next(losses)),
            mock.patch.object(papers, "_accuracy", side_effect=[0.9, 0.1]) as accuracy,
        ):
            report = finetune(self.workdir, "semi_supervised", learning_rates=[9.0, 0.05], epochs=[1])
        self.assertEqual(report["chosen"]["learning_rate"], 0.05)
        self.assertEqual([len(call.args[2]) for call in accuracy.call_args_list], [3, 40])  # held out, then the test

    def test_labels_of_one_class_are_refused_by_transfer_in_our_own_words(self):
        alone = dataclasses.replace(self.source.train, labels=np.full(len(self.source.train), 2, np.int32))
        task = papers.Task(Hyperparameters(**tiny.settings()), None, alone, alone, num_classes=3)
        with self.assertRaisesRegex(ValueError, "^--protocol must not be transfer where all labels are of one class"):
            papers.transfer_features(task)

    def test_transfer_chooses_by_what_was_held_out_and_ends_with_all(self):
        with (
            mock.patch.object(transfer, "choose_strength", wraps=transfer.choose_strength) as choose,
            mock.patch.object(transfer, "classes_of", wraps=transfer.classes_of) as classes,
            mock.patch.object(transfer, "L2_STRENGTHS", np.array([1e-3, 1.0])),
        ):
            finetune(self.workdir, "transfer")
        self.assertEqual([len(values) for values in choose.call_args.args], [96, 96, 24, 24])
        self.assertEqual([len(values) for values in classes.call_args.args], [120, 120, 40])

    @parameterized.parameters("semi_supervised", "transfer")
    def test_test_images_have_no_part_in_the_choice(self, protocol):
        few = {"learning_rates": [0.02, 0.1], "epochs": [2]} if protocol == "semi_supervised" else {}
        with mock.patch.object(transfer, "L2_STRENGTHS", np.array([1e-3, 1.0, 1e5])):
            report = finetune(self.workdir, protocol, **few)
            self.source = _strangers(self.source)
            other = finetune(self.workdir, protocol, **few)
        self.assertEqual((report["chosen"], report["held_out"]), (other["chosen"], other["held_out"]))
        self.assertNotEqual(report["accuracy"], other["accuracy"])

    def test_transfer_chooses_a_strength_and_tells_how_each_did(self):
        report = finetune(self.workdir, "transfer", target_data="tfds:other", target_data_dir="there")
        (asked,) = self.load.call_args.args
        self.assertEqual(
            (asked.data, asked.data_dir, asked.label_fraction, asked.labels_per_class), ("tfds:other", "there", 1.0, 0)
        )
        self.assertGreater(report["accuracy"], 0.8)
        scores = {cell["l2_strength"]: cell["accuracy"] for cell in report["held_out"]}
        self.assertLen(scores, 45)
        self.assertEqual(scores[report["chosen"]["l2_strength"]], max(scores.values()))

    @parameterized.parameters(
        ({"target_data": "digits"}, "--target_data must be empty: semi_supervised uses .* Received: digits"),
        ({"held_out_share": 1.0}, r"--held_out_share must be in \(0, 1\)\. Received: 1\.0"),
    )
    def test_what_does_not_go_together_is_refused(self, options, message):
        with self.assertRaisesRegex(ValueError, f"^{message}$"):
            finetune(self.workdir, "semi_supervised", **options)

    def test_one_label_a_class_leaves_nothing_to_choose_by(self):
        workdir = self.run_folder(labels_per_class=1)
        with self.assertRaisesRegex(ValueError, "^--held_out_share must leave images .* Received: 0.2 of 3 images$"):
            finetune(workdir, "semi_supervised")
        report = finetune(workdir, "semi_supervised", learning_rates=[0.02], epochs=[2])
        self.assertEqual((report["train_images"], report["held_out"]), (3, []))

    def test_images_of_other_channels_are_refused(self):
        coloured = ImageSet(np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2, np.int32))
        self.source = dataclasses.replace(self.source, train=coloured)
        with self.assertRaisesRegex(ValueError, "^--target_data must be of 1 channels.* Received: tfds:other, of 3$"):
            finetune(self.workdir, "linear", target_data="tfds:other")

    def test_the_command_prints_one_line(self):
        line = [f"--workdir={self.workdir}", "--protocol=linear", "--epoch_counts=1", "--batch_size=60"]
        code, printed = self.main(*line)
        self.assertEqual(code, 0)
        self.assertRegex(
            printed, r"^linear: 0\.\d{4} on 40 test images, from 120 labels \(learning_rate 0\.3, epochs 1\)\n$"
        )
        for wrong in ("--learning_rates=fast", "--epoch_counts=-1", "--batch_size=1"):
            code, _ = self.main(*line, wrong)
            self.assertEqual(code, 2)
            self.assertRegex(self.errors.getvalue().splitlines()[-1], f"^error: {wrong.partition('=')[0]} must be ")

    def main(self, *arguments):
        with flagsaver.flagsaver(), contextlib.redirect_stdout(io.StringIO()) as printed:
            command_line.parse(["x", *arguments])
            return program.main(["x"]), printed.getvalue()


class _Fit:
    """Calls `fit`, and records the images and labels of the batches."""

    def __init__(self):
        self.ids, self.labels, self.orders = [], [], []
        self._fit = papers.ClassifierTraining.fit

    def __call__(self, training, batches, *, steps, learning_rate):
        listed = list(batches)
        images = np.concatenate([batch["images"].numpy() for batch in listed])
        self.orders.append([image.tobytes() for image in images])
        self.ids.append({image.tobytes() for image in images})
        self.labels.append({int(label) for batch in listed for label in batch["labels"]})
        return self._fit(training, listed, steps=steps, learning_rate=learning_rate)


if __name__ == "__main__":
    tf.test.main()
