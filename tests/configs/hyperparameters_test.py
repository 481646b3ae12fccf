"""Tests of semppl.configs.hyperparameters."""

import dataclasses
import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from semppl.configs.hyperparameters import Hyperparameters


def _make(**changes):
    return Hyperparameters(**{"labels_per_class": 1, **changes})


class RecordTest(parameterized.TestCase):
    def test_a_record_cannot_be_changed(self):
        with self.assertRaises(dataclasses.FrozenInstanceError):
            _make().batch_size = 1

    def test_every_setting_has_a_group_and_a_meaning(self):
        for field in dataclasses.fields(Hyperparameters):
            self.assertIn(
                field.metadata["group"],
                ("data", "views", "networks", "objective", "family", "optimisation"),
                field.name,
            )
            self.assertRegex(field.metadata["help"], r"^\S.{5,}\.$", field.name)

    def test_the_defaults_are_the_published_ones(self):
        settings = _make()
        self.assertEqual((settings.large_views, settings.small_views, settings.num_views), (4, 2, 6))
        self.assertEqual((settings.temperature, settings.negatives, settings.semantic_positives), (0.2, 10, 3))
        self.assertEqual(
            (settings.contrastive_weight, settings.semantic_weight, settings.invariance_weight), (0.3, 0.2, 5)
        )
        self.assertEqual((settings.batch_size, settings.capacity), (4096, 20 * 4096))
        self.assertAlmostEqual(settings.peak_learning_rate, 0.3 * 4096 / 256, delta=1e-12)
        self.assertEqual((settings.weight_decay, settings.target_decay, settings.neighbours), (1e-6, 0.99, 1))

    def test_a_given_queue_size_is_the_capacity(self):
        self.assertEqual(_make(batch_size=32, queue_size=48).capacity, 48)

    def test_the_number_of_channels_is_that_of_the_means(self):
        self.assertEqual(_make(pixel_mean=(0.5,), pixel_stddev=(0.2,)).channels, 1)
        self.assertEqual(_make().channels, 3)
        self.assertEqual(_make(pixel_mean=(0.5,) * 7, pixel_stddev=(0.2,) * 7, channels=7).channels, 7)
        self.assertEqual(Hyperparameters.from_json(_make(pixel_mean=(0.5,), pixel_stddev=(0.2,)).to_json()).channels, 1)

    def test_channels_that_the_means_do_not_fit_are_refused(self):
        with self.assertRaisesRegex(
            ValueError, r"^--pixel_mean must be a value per channel, 1. Received: \(0.485, .*\)$"
        ):
            _make(channels=1)

    def test_the_networks_get_their_own_settings_only(self):
        names = ("encoder", "width", "norm", "head_width", "embedding_width", "pixel_mean", "pixel_stddev")
        names += ("train", "frozen_stages", "widths")
        settings = _make(width=2.0)
        expected = {name: getattr(settings, name) for name in names} | {"frozen_norms": False, "picture_size": 224}
        self.assertEqual(settings.network, expected)


class ValidationTest(parameterized.TestCase):
    def test_a_weight_of_semantic_positives_needs_some(self):
        for method in ("byol", "simclr"):
            weight = {"method": method, f"{method}_semantic_weight": 0.5}
            message = f"^--semantic_positives must be 1 .*{method}_semantic.*Received: 0$"
            with self.assertRaisesRegex(ValueError, message):
                _make(**weight, semantic_positives=0)
            _make(**weight, semantic_positives=1)

    @parameterized.parameters(
        ("labels_per_class", -1, "0 or more"),
        ("large_views", 0, "1 or more"),
        ("small_views", -1, "0 or more"),
        ("large_size", 7, "8 or more"),
        ("small_size", 7, "8 or more"),
        ("inference_size", 7, "0, or 8 or more"),
        ("mask_probability", 1.5, "in 0..1"),
        ("width", 0.0, "positive"),
        ("head_width", 0, "1 or more"),
        ("embedding_width", 0, "1 or more"),
        ("pixel_stddev", (0.2, 0.2), "as many values as pixel_mean, 3, all positive"),
        ("pixel_stddev", (0.2, 0.2, 0.0), "all positive"),
        ("temperature", 0.0, "positive"),
        ("compatible_weight", 0.0, "positive"),
        ("compatible_weight", 2.0, "1.0 without --compatible_with"),
        ("nested_dims", (8, 8), "increasing whole numbers of 1 or more"),
        ("nested_dims", (0, 8), "increasing whole numbers of 1 or more"),
        ("nested_dims", (8, 257), "at most --embedding_width = 256"),
        ("nested_dims", (8.0,), "whole numbers"),
        ("negatives", 0, "1 or more"),
        ("semantic_positives", -1, "0 or more"),
        ("neighbours", 0, "in 1..81920"),
        ("neighbours", 81921, "in 1..81920"),
        ("queue_size", -1, "0 or more"),
        ("contrastive_weight", -0.1, "0 or more"),
        ("semantic_weight", -0.1, "0 or more"),
        ("invariance_weight", -0.1, "0 or more"),
        ("weight_decay", -0.1, "0 or more"),
        ("learning_rate", -0.1, "0 or more"),
        ("momentum", 1.0, "in 0..1, below 1"),
        ("momentum", -0.1, "in 0..1, below 1"),
        ("target_decay", 1.1, "in 0..1"),
        ("frozen_norms", "yes", "auto, true, false"),
        ("frozen_stages", -1, "0 or more"),
        ("frozen_stages", 1, "0 without --initial_weights or --initial_run"),
        ("encoder_rate_factor", 0.0, "positive"),
        ("batch_size", 10, "at least negatives + 1 = 11"),
        ("labelled_batch_size", 4097, "in 0..batch_size=4096"),
        ("labelled_batch_size", -1, "in 0..batch_size=4096"),
        ("accumulate_steps", 0, "a divisor of batch_size=4096"),
        ("accumulate_steps", 3, "a divisor of batch_size=4096"),
        ("gradient_checkpointing", 1, "true or false"),
        ("steps", -1, "positive, or 0, which means as many as --epochs (above 0) takes"),
        ("warmup_epochs", -1.0, "0 or more"),
        ("warmup_steps", -2, "-1 or more"),
        ("seed", -1, "in 0..2**32 - 1"),
        ("seed", 2**32, "in 0..2**32 - 1"),
        ("label_seed", -1, "in 0..2**32 - 1"),
        # of the wrong kind
        ("steps", 1.5, "a whole number"),
        ("steps", True, "a whole number"),
        ("batch_size", "64", "a whole number"),
        ("learning_rate", float("nan"), "a finite number"),
        ("learning_rate", float("inf"), "a finite number"),
        ("temperature", float("inf"), "a finite number"),
        ("epochs", float("inf"), "a finite number"),
        ("mask_probability", float("nan"), "a finite number"),
        ("temperature", "0.2", "a finite number"),
        ("data", 3, "a text"),
        ("test", "1", "a source, or a share in (0, 1)"),
        ("validation", "-0.1", "a source, or a share in (0, 1)"),
        ("test", "nan", "a source, or a share in (0, 1)"),
        ("truncated", "mend", "skip or keep"),
        ("max_pixels", 0, "in 1..178956970"),
        ("max_pixels", 178956971, "in 1..178956970"),
        ("max_bad_fraction", 1.1, "in 0..1"),
        ("shrink", 7, "0, or 8 or more pixels"),
        ("min_vote_share", 1.5, "in 0..1"),
        ("voting_views", -1, "0 or more"),
        ("voting_views", 5, "at most large_views = 4"),
        ("min_pseudo_label_coverage", 1.5, "in 0..1"),
        ("split_seed", -1, "in 0..2**32 - 1"),
        ("pixel_mean", (), "finite numbers, one per channel"),
        ("pixel_mean", (0.1, float("nan"), 0.1), "finite numbers, one per channel"),
        ("pixel_mean", 0.5, "finite numbers, one per channel"),
    )
    def test_a_value_that_is_not_allowed_is_one_line_with_flag_allowed_and_received(self, flag, value, allowed):
        with self.assertRaises(ValueError) as caught:
            _make(**{flag: value})
        message = str(caught.exception)
        self.assertStartsWith(message, f"--{flag} must be ")
        self.assertIn(allowed, message)
        self.assertEndsWith(message, f" Received: {value}")
        self.assertNotIn("\n", message)

    @parameterized.parameters(
        ("batch_size", 11),
        ("large_size", 8),
        ("mask_probability", 0.0),
        ("mask_probability", 1.0),
        ("neighbours", 81920),
        ("voting_views", 4),
        ("momentum", 0.0),
        ("target_decay", 1.0),
        ("target_decay", 0.0),
        ("warmup_steps", -1),
        ("seed", 2**32 - 1),
        ("learning_rate", 0),
        ("small_views", 0),
        ("test", "0.5"),
        ("max_bad_fraction", 0),
        ("max_pixels", 178956970),
        ("shrink", 8),
    )
    def test_a_value_at_the_border_is_allowed(self, flag, value):
        self.assertEqual(getattr(_make(**{flag: value}), flag), value)

    def test_a_queue_holds_the_labelled_images_of_a_batch(self):
        self.assertEqual(_make(batch_size=64, labelled_batch_size=16, queue_size=16).capacity, 16)
        with self.assertRaisesRegex(ValueError, r"^--queue_size must be at least .* 16\. Received: 15$"):
            _make(batch_size=64, labelled_batch_size=16, queue_size=15)

    def test_no_length_is_no_run(self):
        with self.assertRaisesRegex(ValueError, "^--steps must be positive, or 0, which means"):
            _make(steps=0, epochs=0.0)

    @parameterized.parameters(
        ({}, "none"),
        ({"labels_per_class": 1, "label_fraction": 0.5}, "--labels_per_class=1 --label_fraction=0.5"),
        ({"label_fraction": 0.5, "label_list": "some.txt"}, "--label_fraction=0.5 --label_list=some.txt"),
    )
    def test_labels_are_chosen_in_exactly_one_way(self, chosen, received):
        with self.assertRaises(ValueError) as caught:
            Hyperparameters(**chosen)
        self.assertEqual(
            str(caught.exception),
            f"Exactly one of --labels_per_class, --label_fraction, --label_list must be given. Received: {received}"
            + ("; to override a preset's, set it to 0, or --label_list to nothing" if received != "none" else ""),
        )

    @parameterized.parameters("folder:a?labels=b.csv", "digits,folder:a", "folder:a,tfds:b", "tfrecord:a*")
    def test_data_that_bring_their_labels_need_no_choice(self, data):
        self.assertEqual(Hyperparameters(data=data).data, data)
        self.assertEqual(Hyperparameters(data=data, labels_per_class=3).labels_per_class, 3)
        with self.assertRaisesRegex(ValueError, "^Exactly one of "):
            Hyperparameters(data=data, labels_per_class=3, label_fraction=0.1)

    @parameterized.parameters("digits", "tfds:folder", "subfolder:a")
    def test_other_data_need_one(self, data):
        with self.assertRaisesRegex(ValueError, "^Exactly one of .* Received: none$"):
            Hyperparameters(data=data)

    @parameterized.parameters(-0.1, 1.1)
    def test_a_fraction_is_between_zero_and_one(self, fraction):
        with self.assertRaisesRegex(ValueError, r"^--label_fraction must be in 0\.\.1\. Received: "):
            Hyperparameters(label_fraction=fraction)


class ResolvedTest(parameterized.TestCase):
    def test_data_without_a_label_are_named(self):
        settings = Hyperparameters(data="folder:a", steps=3, warmup_steps=0)
        with self.assertRaisesRegex(ValueError, "^--data must be such that an image has a label. Received: folder:a$"):
            settings.resolved(num_images=9, num_labelled=0, replicas=1)

    def test_where_nothing_is_trained_a_run_has_no_steps(self):
        for length in ({}, {"steps": 5}, {"epochs": 3.0}, {"warmup_steps": 4}):
            settings = _make(train="nothing", batch_size=32, **length)
            resolved = settings.resolved(num_images=320, num_labelled=20, replicas=1)
            self.assertEqual((resolved.steps, resolved.warmup_steps), (0, 0))
            again = resolved.resolved(num_images=320, num_labelled=20, replicas=1)
            self.assertEqual(again, resolved)

    def test_epochs_become_steps(self):
        settings = _make(batch_size=32, epochs=3.0, warmup_epochs=0.5)
        resolved = settings.resolved(num_images=1500, num_labelled=10, replicas=1)
        self.assertEqual((resolved.steps, resolved.warmup_steps), (140, 23))  # 140.625 and 23.4375
        self.assertEqual(resolved.queue_size, 640)

    def test_steps_win_over_epochs(self):
        settings = _make(batch_size=32, steps=7, warmup_steps=0)
        self.assertEqual(settings.resolved(num_images=1500, num_labelled=10, replicas=1).steps, 7)

    def test_a_run_has_a_step_however_short_its_epochs(self):
        settings = _make(batch_size=32, epochs=1e-6, warmup_steps=0)
        self.assertEqual(settings.resolved(num_images=1500, num_labelled=10, replicas=1).steps, 1)

    @parameterized.parameters((150, 1, 10), (1, 1, 1), (120, 4, 8), (1499, 1, 96))
    def test_labelled_rows_are_the_natural_share_whatever_the_replicas(self, num_labelled, replicas, rows):
        settings = _make(batch_size=96, steps=5, warmup_steps=0)
        resolved = settings.resolved(num_images=1500, num_labelled=num_labelled, replicas=replicas)
        self.assertEqual(resolved.labelled_batch_size, rows)

    def test_a_natural_share_that_replicas_cannot_split_is_not_bent_in_silence(self):
        settings = _make(batch_size=96, steps=5, warmup_steps=0)
        with self.assertRaisesRegex(
            ValueError, "^--labelled_batch_size must be a multiple of the 4 replicas, say 8.* 10$"
        ):
            settings.resolved(num_images=1500, num_labelled=150, replicas=4)

    def test_given_labelled_rows_stay(self):
        settings = _make(batch_size=96, labelled_batch_size=24, steps=5, warmup_steps=0)
        self.assertEqual(settings.resolved(num_images=1500, num_labelled=10, replicas=2).labelled_batch_size, 24)

    def test_a_smaller_labelled_share_of_a_batch_does_not_hold_where_every_image_has_a_label(self):
        settings = _make(batch_size=96, labelled_batch_size=24, steps=5, warmup_steps=0)
        resolved = settings.resolved(num_images=1500, num_labelled=1500, replicas=1)
        self.assertEqual(resolved.labelled_batch_size, 96)

    @parameterized.parameters((10, True, "with --method=semppl"))
    def test_all_rows_are_labelled_where_no_other_image_is_used(self, num_labelled, labels_alone, where):
        images = {"num_images": 1500, "num_labelled": num_labelled, "replicas": 1, "labels_alone": labels_alone}
        settings = _make(batch_size=96, steps=5, warmup_steps=0)
        self.assertEqual(settings.resolved(**images).labelled_batch_size, 96)
        settings = _make(batch_size=96, labelled_batch_size=24, steps=5, warmup_steps=0)
        message = rf"^--labelled_batch_size must be 0 or batch_size, {where}\. Received: 24$"
        with self.assertRaisesRegex(ValueError, message):
            settings.resolved(**images)

    @parameterized.parameters(
        ({"batch_size": 33}, "--batch_size must be a multiple of the 2 replicas, say 32. Received: 33"),
        ({"labelled_batch_size": 5}, "--labelled_batch_size must be a multiple of the 2 replicas, say 4. Received: 5"),
        ({"accumulate_steps": 32}, "--accumulate_steps must be a divisor of the 16 images of a replica. Received: 32"),
        ({"warmup_steps": 5}, "--warmup_steps must be below the 5 steps. Received: 5"),
        ({"warmup_steps": -1, "warmup_epochs": 1.0}, "--warmup_epochs must be below the 5 steps. Received: 46"),
    )
    def test_what_does_not_go_together_names_the_flag(self, changes, message):
        settings = _make(**{"batch_size": 32, "labelled_batch_size": 4, "steps": 5, "warmup_steps": 0, **changes})
        with self.assertRaises(ValueError) as caught:
            settings.resolved(num_images=1500, num_labelled=10, replicas=2)
        self.assertEqual(str(caught.exception), message)

    def test_a_folder_without_its_kind_is_asked_about(self):
        with tempfile.TemporaryDirectory() as folder:
            for labels in ("", "?labels=folders"):
                with self.assertRaises(ValueError) as refused:
                    Hyperparameters(data=folder + labels)
                self.assertStartsWith(
                    str(refused.exception), "--data must name the kind of the source before its path."
                )
                self.assertEndsWith(str(refused.exception), f"did you mean folder:{folder}{labels}?")

    def test_heads_see_pictures_of_one_size(self):
        heads = {"train": "heads", "small_views": 0, "large_size": 64}
        with self.assertRaisesRegex(ValueError, "^--inference_size must be 0 or large_size = 64 .*Received: 96$"):
            _make(**heads, inference_size=96)
        self.assertEqual(_make(**heads, inference_size=64).embedded_size, 64)

    @parameterized.parameters("heads", "nothing")
    def test_no_stage_is_frozen_where_none_is_trained(self, train):
        with self.assertRaisesRegex(ValueError, f"^--frozen_stages must be 0 with --train={train}, .*Received: 1$"):
            _make(encoder="keras:MobileNetV2", initial_weights="imagenet", train=train, frozen_stages=1, small_views=0)

    @parameterized.parameters("heads", "nothing")
    def test_a_pretrained_network_that_is_not_trained_needs_its_weights(self, train):
        settings = {"encoder": "keras:MobileNetV2", "train": train, "small_views": 0}
        with self.assertRaisesRegex(
            ValueError,
            "^--initial_weights must be imagenet or a file, since keras:MobileNetV2 is not trained. Received: none$",
        ):
            _make(**settings)
        _make(**settings | {"initial_weights": "imagenet"})
        _make(**settings | {"train": "all"})

    def test_labels_that_are_none_name_the_flag_that_chose_them(self):
        settings = Hyperparameters(label_list="empty.txt", batch_size=32, steps=5, warmup_steps=0)
        with self.assertRaisesRegex(ValueError, "^--label_list must be such that .* Received: empty.txt$"):
            settings.resolved(num_images=1500, num_labelled=0, replicas=1)

    def test_a_natural_share_must_fit_the_queue(self):
        settings = _make(batch_size=32, queue_size=8, steps=5, warmup_steps=0)
        with self.assertRaisesRegex(ValueError, r"^--queue_size must be at least .* 16\. Received: 8$"):
            settings.resolved(num_images=1500, num_labelled=750, replicas=1)

    def test_resolving_twice_changes_nothing(self):
        settings = _make(batch_size=32, epochs=3.0, warmup_epochs=0.5)
        once = settings.resolved(num_images=1500, num_labelled=10, replicas=1)
        self.assertEqual(once.resolved(num_images=1500, num_labelled=10, replicas=1), once)


class JsonTest(parameterized.TestCase):
    def test_what_is_written_is_read_back(self):
        settings = _make(learning_rate=1 / 3, pixel_mean=(0.1,), pixel_stddev=(1e-7,), label_seed=7, data="tfds:ä")
        self.assertEqual(Hyperparameters.from_json(settings.to_json()), settings)

    def test_a_line_holds_a_setting(self):
        text = _make(pixel_mean=(0.5,), pixel_stddev=(0.2,)).to_json()
        self.assertEqual(json.loads(text)["batch_size"], 4096)
        self.assertIn('\n  "batch_size": 4096,\n', text)
        self.assertEndsWith(text, "\n}\n")

    def test_a_setting_of_another_release_is_named(self):
        values = {**dataclasses.asdict(_make()), "warp": 9}
        with self.assertRaisesRegex(
            ValueError, "^Unknown hyper-parameters: warp. This release knows accumulate_steps, .*batch_size, "
        ):
            Hyperparameters.from_json(json.dumps(values))

    def test_a_value_that_is_not_allowed_is_refused_when_read(self):
        values = {**dataclasses.asdict(_make()), "width": 0.0}
        with self.assertRaisesRegex(ValueError, "^--width must be"):
            Hyperparameters.from_json(json.dumps(values))

    def test_a_missing_setting_has_its_default(self):
        self.assertEqual(Hyperparameters.from_json('{"labels_per_class": 1}'), _make())

    @parameterized.parameters("", "{", "[1]", "7", '{"warp": 9}', '{"labels_per_class": "many"}')
    def test_a_file_that_is_none_of_ours_names_the_folder(self, text):
        workdir = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        (workdir / "hyperparameters.json").write_text(text)
        with self.assertRaises(ValueError) as caught:
            Hyperparameters.load(workdir)
        self.assertStartsWith(str(caught.exception), f"--workdir must hold a run of this release. Received: {workdir}")
        self.assertNotIn("\n", str(caught.exception))

    def test_a_folder_without_a_run_is_named(self):
        workdir = self.enter_context(tempfile.TemporaryDirectory())
        with self.assertRaisesRegex(ValueError, f"^--workdir must be the folder of a run, .* Received: {workdir}$"):
            Hyperparameters.load(workdir)

    def test_paths_are_no_differences(self):
        here, there = (_make(data_dir=folder, cache_dir=folder) for folder in ("a", "b"))
        self.assertEmpty(here.differences(there))
        self.assertNotEqual(here, there)

    def test_where_pictures_and_labels_lie_is_no_difference(self):
        for name in ("data", "validation", "test", "label_list"):
            rest = {} if name == "label_list" else {"label_fraction": 0.5}
            here, there = (Hyperparameters(**rest, **{name: place}) for place in ("folder:a", "folder:b"))
            self.assertEmpty(here.differences(there))

    def test_the_share_that_is_held_out_is_a_difference(self):
        here, there = (_make(test=test) for test in ("0.1", "folder:a"))
        self.assertEqual(here.differences(_make(test="0.2")), {"test": ("0.1", "0.2")})
        self.assertEqual(here.differences(there), {"test": ("0.1", "")})
        self.assertEqual(there.differences(here), {"test": ("", "0.1")})

    def test_differences_are_named_with_both_values(self):
        here, there = _make(seed=1, width=2.0), _make(seed=2, width=2)
        self.assertEqual(here.differences(there), {"seed": (1, 2)})
        self.assertEmpty(here.differences(here))


if __name__ == "__main__":
    absltest.main()
