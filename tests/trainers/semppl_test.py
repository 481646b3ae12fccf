"""Tests of semppl.trainers.semppl: whole steps, against plain loops, compiled, and over replicas."""

import math
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from tensorflow.python.distribute import mirrored_run, mirrored_strategy

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.views.making import finish_views
from semppl.layers.labels import NO_LABEL
from semppl.layers.randomness import random_integers
from semppl.tests import numpy_method, testing, tiny
from semppl.trainers import pretrain, semppl


def _model(settings, optimiser=None):
    """Makes a model; with plain gradient descent the updates are the gradients."""
    tf.keras.utils.set_random_seed(settings["seed"])
    model = semppl.SemPPL(Hyperparameters(**settings), tiny.NUM_CLASSES)
    optimiser = tf.keras.optimizers.SGD(0.05) if optimiser is None else optimiser
    optimiser.build(model.trained_variables())
    model.compile(optimizer=optimiser)
    return model


def _batch(number, settings):
    return {name: tf.constant(value) for name, value in tiny.batch(number, settings).items()}


def _all_views(batch):
    return [*batch["large"], *batch["small"]]


def _values(variables):
    return [variable.numpy() for variable in variables]


def _all_variables(model):
    return [*model.variables, *model.optimizer.variables]


def _restore(model, values):
    for variable, value in zip(_all_variables(model), values, strict=True):
        variable.assign(value)


class Oracle:
    """Follows a model step by step, in plain loops, from its embeddings and from the numbers of its draws."""

    def __init__(self, settings):
        self.hyperparameters = Hyperparameters(**settings)
        self.queues = [[] for _ in range(settings["large_views"])]  # a list of entries per view, oldest first
        self.entered = 0
        self.number = 0

    def step(self, predictions, targets, batch):
        """Returns what the step must report, from `[V, N, D]` predictions and `[L, N, D]` targets."""
        settings, labels, groups, truth = self.hyperparameters, batch["labels"], batch["groups"], batch["truth"]
        large, images = len(targets), range(len(labels))
        for j, queue in enumerate(self.queues):
            self.queues[j] = numpy_method.enqueue(queue, targets[j], labels, groups, capacity=settings.capacity)
        self.entered += int(np.sum(labels != NO_LABEL))
        voters = settings.voting_views or large
        votes = [
            numpy_method.vote(predictions[:voters, b], groups[b], self.queues[:voters], settings.neighbours)
            for b in images
        ]
        needed = math.ceil(settings.min_pseudo_label_coverage * int(np.sum(labels == NO_LABEL)))
        clearest = sorted((votes[b][1] for b in images if labels[b] == NO_LABEL), reverse=True)
        threshold = min(settings.min_vote_share, clearest[needed - 1] if needed else 1.0)
        votes = [vote if vote[1] >= threshold else (NO_LABEL, 0.0) for vote in votes]
        classes = numpy_method.choose_classes(labels, [elected for elected, _ in votes])
        slots = self._draw_slots(classes)
        negatives = self._draw_negatives(groups, labels, classes)
        queue = np.stack(
            [[np.zeros(predictions.shape[-1]) if e is None else e.embedding for e in q] for q in self.slots]
        )
        terms = numpy_method.Terms(0.0, 0.0, 0.0, 0.0)
        for width in (*settings.nested_dims, predictions.shape[-1]):
            parts = (self._cut(embeddings, width) for embeddings in (predictions, targets, queue))
            nested, temperature = (
                dict(zip(("predictions", "targets", "queues"), parts, strict=True)),
                settings.temperature,
            )
            at_width = numpy_method.terms(**nested, negatives=negatives, slots=slots, temperature=temperature)
            terms = numpy_method.Terms(*(sum(both) for both in zip(terms, at_width, strict=True)))
        self.number += 1
        unlabelled = [b for b in images if labels[b] == NO_LABEL]
        voted = [b for b in unlabelled if votes[b][0] != NO_LABEL]
        mean = predictions.reshape(-1, predictions.shape[-1]).astype(np.float64).mean(0)
        return {
            **terms._asdict(),
            "loss": terms.total(
                contrastive_weight=settings.contrastive_weight,
                semantic_weight=settings.semantic_weight,
                invariance_weight=settings.invariance_weight,
            ),
            "pseudo_labels_judged": len(voted),
            "pseudo_label_accuracy": np.mean([votes[b][0] == truth[b] for b in voted]) if voted else 0.0,
            "pseudo_label_coverage": len(voted) / len(unlabelled),
            "vote_confidence": np.mean([votes[b][1] for b in voted]) if voted else 0.0,
            "with_semantic_positive": np.mean([any(len(view) > 0 for view in drawn) for drawn in slots]),
            "embedding_spread": 1 - numpy_method.dot(mean, mean),
        }

    @property
    def slots(self):
        """The queues as rings: the n-th image that ever came in stands in slot n modulo the capacity."""
        capacity = self.hyperparameters.capacity
        rings = [[None] * capacity for _ in self.queues]
        for ring, queue in zip(rings, self.queues, strict=True):
            for age, entry in enumerate(queue):
                ring[(self.entered - len(queue) + age) % capacity] = entry
        return rings

    def _cut(self, embeddings, width):
        """Scales the first dimensions of each embedding to unit norm; an empty slot stays zero."""
        cut = np.zeros([*embeddings.shape[:-1], width])
        for place in np.ndindex(*embeddings.shape[:-1]):
            if embeddings[place].any():
                cut[place] = numpy_method.normalise(embeddings[place][:width])
        return cut

    def _numbers(self, purpose, count):
        settings = self.hyperparameters
        shape = [settings.batch_size, settings.large_views, count]
        return random_integers(shape, seed=settings.seed, purpose=purpose, step=tf.constant(self.number)).numpy()

    def _draw_negatives(self, groups, labels, classes):
        """Deals rows of other images, by rising key, from a hat; a key is an image's group, or a negative number for its class."""
        keys = list(groups)
        if not self.hyperparameters.same_class_negatives:
            for row, group in enumerate(groups):
                copies = [other for other in range(len(groups)) if groups[other] == group]
                known = [labels[copy] for copy in copies if labels[copy] != NO_LABEL]
                voted = [classes[copy] for copy in copies if classes[copy] != NO_LABEL]
                if known or voted:
                    keys[row] = -1 - int(max(known or voted))
            keys = keys if len(set(keys)) > 1 else list(groups)
        numbers = self._numbers("negatives", self.hyperparameters.negatives)
        negatives = np.empty(numbers.shape, int)
        for b, j in np.ndindex(*numbers.shape[:2]):
            others = sorted((row for row in range(len(keys)) if keys[row] != keys[b]), key=lambda row: keys[row])
            hat = others.copy()
            negatives[b, j] = [
                hat.pop(number % len(hat)) if hat else others[number % len(others)] for number in numbers[b, j]
            ]
        return negatives

    def _draw_slots(self, classes):
        """Points at one of the slots of the image's class with each number."""
        numbers = self._numbers("semantic_positives", self.hyperparameters.semantic_positives)
        ring, drawn = self.slots[0], []
        for b, image_class in enumerate(classes):
            held = [slot for slot, entry in enumerate(ring) if entry and entry.label == image_class]
            drawn.append([[held[number % len(held)] for number in view] for view in numbers[b]] if held else [])
        return drawn


class StepTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("two large views and a small one", {}),
        ("one view", {"large_views": 1, "small_views": 0, "neighbours": 3}),
        ("three large views, K and R of two", {"large_views": 3, "neighbours": 2, "semantic_positives": 2, "seed": 8}),
        (
            "another temperature and other weights",
            {"temperature": 0.7, "contrastive_weight": 1.5, "semantic_weight": 2.0},
        ),
        ("votes of one view", {"voting_views": 1, "neighbours": 3}),
        ("votes that must agree", {"neighbours": 2, "min_vote_share": 0.75}),
        (
            "the clearest votes where too few agree",
            {"neighbours": 2, "min_vote_share": 1.0, "min_pseudo_label_coverage": 0.5},
        ),
        ("no semantic positives", {"semantic_positives": 0}),
        (
            "negatives of other classes only",
            {"same_class_negatives": False, "negatives": 3, "neighbours": 2, "min_vote_share": 0.75},
        ),
        (
            "negatives of other classes only, of every vote",
            {"same_class_negatives": False, "negatives": 3},
        ),
        ("labelled images only", {"labelled_batch_size": 14, "queue_size": 20}),
        ("nested dimensions", {"nested_dims": (2, 5)}),
    )
    def test_steps_match_plain_loops_while_the_queue_wraps(self, changes):
        settings = tiny.settings(**changes)
        model, oracle = _model(settings), Oracle(settings)
        for number in range(4):
            arrays, batch = tiny.batch(number, settings), _batch(number, settings)
            predictions = np.stack([model.online(view, training=True) for view in _all_views(batch)])
            targets = np.stack([model.target(view, training=True) for view in batch["large"]])
            report = model.train_step(batch)
            expected = oracle.step(predictions, targets, arrays)
            self.assertContainsSubset(expected, report)
            for name, value in expected.items():
                self.assertAllClose(report[name], value, rtol=1e-5, atol=1e-5, msg=f"{name} of step {number}")
            self._assert_same_queues(model.queue, oracle.slots)
            self.assertAllEqual(model.optimizer.iterations, number + 1)

    def _assert_same_queues(self, queue, rings):
        for j, ring in enumerate(rings):
            for slot, entry in enumerate(ring):
                if entry is None:
                    self.assertAllEqual(queue.labels[slot], NO_LABEL)
                    continue
                self.assertAllEqual([queue.labels[slot], queue.groups[slot]], [entry.label, entry.group])
                self.assertAllClose(queue.embeddings[j, slot], entry.embedding, rtol=1e-6, atol=1e-6)

    def test_unlabelled_images_are_never_enqueued(self):
        settings = tiny.settings()
        model, unlabelled = _model(settings), set()
        for number in range(4):
            batch = tiny.batch(number, settings)
            unlabelled |= set(batch["groups"][batch["labels"] == NO_LABEL])
            model.train_step(_batch(number, settings))
        labelled = {i for n in range(4) for i in tiny.batch(n, settings)["groups"][: settings["labelled_batch_size"]]}
        self.assertContainsSubset(set(model.queue.groups.numpy()), labelled)
        self.assertNotIn(NO_LABEL, model.queue.labels.numpy())

    def test_with_quotas_no_class_has_more_than_its_share_of_the_queue(self):
        settings = tiny.settings(queue_quotas=True, labelled_batch_size=10)
        model = _model(settings)
        for number in range(4):
            model.train_step(_batch(number, settings))
        counts = np.bincount(model.queue.labels.numpy() + 1, minlength=tiny.NUM_CLASSES + 1)
        self.assertEqual(counts.tolist(), [1, 3, 3, 3])  # of ten slots one is left over

    def test_the_first_batch_votes_already(self):
        report = _model(tiny.settings()).train_step(_batch(0, tiny.settings()))
        self.assertAllEqual([report["pseudo_label_coverage"], report["with_semantic_positive"]], [1.0, 1.0])

    def test_without_labels_the_semantic_terms_are_exactly_zero_and_nothing_is_nan(self):
        settings = tiny.settings(labelled_batch_size=0)
        model = _model(settings)
        before = _values(model.trained_variables())
        report = model.train_step(_batch(0, settings))
        for name in ("contrastive_semantic", "invariance_semantic", "with_semantic_positive", "pseudo_label_coverage"):
            self.assertAllEqual(report[name], 0.0)
        self.assertAllEqual(model.queue.labels, [NO_LABEL] * settings["queue_size"])
        for variable in _all_variables(model):
            self.assertFalse(np.isnan(variable.numpy()).any(), variable.name)
        kernels = [variable for variable in model.trained_variables() if "kernel" in variable.name]
        self.assertLen(kernels, 7)
        for variable, old in zip(model.trained_variables(), before, strict=True):
            if "kernel" in variable.name:
                self.assertNotAllEqual(variable, old)

    def test_constant_embeddings_give_the_logarithm_of_eleven_with_the_default_constants(self):
        # A gain of 0 and an offset of 1 before the last layer make every embedding the same: every ℓ is ln 11, every KL 0,
        # and the loss 0.3·(1 + 0.2)·ln 11 = 0.86324.
        defaults = {field.name: field.default for field in Hyperparameters.__dataclass_fields__.values()}
        names = ("large_views", "small_views", "negatives", "semantic_positives", "temperature", "neighbours")
        settings = tiny.settings(**{name: defaults[name] for name in names})
        self.assertNoCommonElements(settings, ["contrastive_weight", "semantic_weight", "invariance_weight"])
        model = _model(settings)
        for head in (model.online.predictor, model.target.projector):
            head.hidden_norm.gamma.assign(tf.zeros_like(head.hidden_norm.gamma))
            head.hidden_norm.beta.assign(tf.ones_like(head.hidden_norm.beta))
        report = model.train_step(_batch(0, settings))
        self.assertAllClose(report["loss"], 0.3 * 1.2 * math.log(11), rtol=2e-6, atol=0)
        self.assertAllClose(report["loss"], 0.86324, rtol=0, atol=5e-6)
        self.assertAllClose(report["contrastive_augmentation"], math.log(11), rtol=2e-6, atol=0)
        self.assertAllClose(report["contrastive_semantic"], math.log(11), rtol=2e-6, atol=0)
        self.assertAllClose(
            [report["invariance_augmentation"], report["invariance_semantic"]], [0, 0], rtol=0, atol=1e-6
        )
        self.assertAllClose(report["embedding_spread"], 0.0, rtol=0, atol=1e-5)

    def test_the_target_moves_after_the_optimiser_by_the_scheduled_decay(self):
        settings = tiny.settings(target_decay=0.4, steps=4)
        model = _model(settings)
        for number in range(3):
            before = _values(model.target.trainable_variables)
            report = model.train_step(_batch(number, settings))
            decay = 1 - (1 - 0.4) * (1 + math.cos(math.pi * number / 4)) / 2
            self.assertAllClose(report["target_decay"], decay, rtol=1e-6, atol=0)
            partners = [*model.online.encoder.trainable_variables, *model.online.projector.trainable_variables]
            for target, old, online in zip(model.target.trainable_variables, before, partners, strict=True):
                self.assertEqual(target.name, online.name)
                self.assertAllClose(target, decay * old + (1 - decay) * online, rtol=1e-5, atol=1e-6)

    def test_online_and_target_start_different_in_every_kernel(self):
        model = _model(tiny.settings())
        pairs = zip(model.target.trainable_variables, model.online.projecting_variables, strict=True)
        kernels = [(target, online) for target, online in pairs if "kernel" in target.name]
        self.assertLen(kernels, 5)
        for target, online in kernels:
            difference = np.abs(target.numpy() - online.numpy())
            self.assertGreater(difference.mean(), 0.5 * np.std(online))

    def test_each_network_keeps_running_statistics_of_its_own_views(self):
        settings = tiny.settings()
        model, batch = _model(settings), _batch(0, settings)
        expected = []
        for network, views in ((model.online, _all_views(batch)), (model.target, list(batch["large"]))):
            mean, variance = 0.0, 1.0
            for view in views:
                activations = network.encoder.convolutions[0](network.pixels(view)).numpy()
                mean = 0.9 * mean + 0.1 * activations.mean((0, 1, 2))
                variance = 0.9 * variance + 0.1 * activations.var((0, 1, 2))
            expected.append((mean, variance))
        model.train_step(batch)
        for network, (mean, variance) in zip((model.online, model.target), expected, strict=True):
            norm = network.encoder.norms[0]
            self.assertAllClose(norm.moving_mean, mean, rtol=1e-5, atol=1e-6)
            self.assertAllClose(norm.moving_variance, variance, rtol=1e-5, atol=1e-6)

    def test_no_gradient_reaches_the_target_network(self):
        model, batch = _model(tiny.settings()), _batch(0, tiny.settings())
        with tf.GradientTape() as tape:
            tape.watch(model.target.trainable_variables)
            total = tf.reduce_sum(model.project_views(batch)[:, :, 0])
        self.assertEqual(set(tape.gradient(total, model.target.trainable_variables)), {None})

    def test_the_optimiser_holds_f_g_and_h_alone(self):
        model = _model(tiny.settings())
        parts = [model.online.encoder, model.online.projector, model.online.predictor]
        expected = [variable.ref() for part in parts for variable in part.trainable_variables]
        self.assertCountEqual([variable.ref() for variable in model.trained_variables()], expected)
        self.assertCountEqual([variable.ref() for variable in model.online.trainable_variables], expected)

    @parameterized.product(
        part=["encoder", "projector", "predictor"],
        changes=[{"invariance_weight": 0.0}, {"invariance_weight": 0.7, "invariance_stop_gradient": False}],
    )
    def test_the_update_is_the_slope_of_the_loss(self, part, changes):
        # Along the gradient of one part the loss rises by the square of that gradient's norm. Not with a stopped
        # teacher, which moves along.
        testing.use_float64(self)
        settings = tiny.settings(**changes)
        model, batch, rate = _model(settings), _batch(0, settings), 0.05
        model.train_step(_batch(1, settings))
        start, before = _values(_all_variables(model)), _values(model.online.trainable_variables)
        report = model.train_step(batch)
        moved = _values(model.online.trainable_variables)
        gradients = [(old - new) / rate for old, new in zip(before, moved, strict=True)]
        norm = math.sqrt(sum(np.sum(gradient**2) for gradient in gradients))
        self.assertAllClose(report["gradient_norm"], norm, rtol=1e-9, atol=0)
        chosen = {variable.ref() for variable in getattr(model.online, part).trainable_variables}
        losses, square = [], 0.0
        for delta in (1e-6, -1e-6):
            _restore(model, start)
            for variable, gradient in zip(model.online.trainable_variables, gradients, strict=True):
                if variable.ref() in chosen:
                    variable.assign_add(delta * gradient)
                    square += np.sum(gradient**2) / 2  # in both rounds
            losses.append(model.train_step(batch)["loss"])
        self.assertAllClose((losses[0] - losses[1]) / 2e-6, square, rtol=1e-5, atol=0)

    def test_views_that_come_as_crops_are_finished_first(self):
        settings = tiny.settings(recipe="digits")
        seeds = tf.stack([tf.zeros([16], tf.int64), tf.range(16, dtype=tf.int64)], axis=1)
        batch = _batch(0, settings)
        finished = finish_views(batch | {"seeds": seeds}, recipe="digits")
        self.assertNotAllClose(finished["large"], batch["large"])
        report = _model(settings).train_step(batch | {"seeds": seeds})
        for name, value in _model(settings).train_step(finished).items():
            self.assertAllEqual(report[name], value)

    def test_a_step_that_is_taken_again_is_the_same(self):
        settings = tiny.settings()
        model = _model(settings)
        model.train_step(_batch(0, settings))
        start = _values(_all_variables(model))
        first = model.train_step(_batch(1, settings)), _values(_all_variables(model))
        _restore(model, start)
        second = model.train_step(_batch(1, settings)), _values(_all_variables(model))
        for name in first[0]:
            self.assertAllEqual(first[0][name], second[0][name])
        for value, again in zip(first[1], second[1], strict=True):
            self.assertAllEqual(value, again)


class CompiledStepTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(("graph", False), ("xla", True))
    def test_compiled_steps_are_those_taken_eagerly(self, jit_compile):
        settings = tiny.settings(negatives=3)
        eager, model = _model(settings), _model(settings)
        step = tf.function(model.train_step, jit_compile=jit_compile, autograph=False)
        for number in range(3):
            batch = _batch(number, settings)
            expected, report = eager.train_step(batch), step(batch)
            self.assertCountEqual(report, expected)
            for name, value in expected.items():
                # A gradient of length 12 that 32 bits round differently is 2e-5 longer in the third step.
                self.assertAllClose(report[name], value, rtol=5e-5, atol=1e-5, msg=f"{name} of step {number}")
            for variable, partner in zip(_all_variables(model), _all_variables(eager), strict=True):
                self.assertAllClose(variable, partner, rtol=1e-5, atol=1e-5, msg=variable.name)


class PriorCorrectedVotesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((False, 0), (True, 1))
    def test_a_vote_of_a_rare_class_weighs_more_if_asked(self, corrected, elected):
        settings = tiny.settings(neighbours=3, min_vote_share=0.0, prior_corrected_votes=corrected)
        model = _model(settings)
        width, queues = settings["embedding_width"], settings["large_views"]
        embeddings = np.zeros([queues, settings["queue_size"], width], np.float32)
        # Of six entries of class 0, two are near; of two of class 1, one is: two votes of 1/6 against one of 1/2.
        embeddings[:, [0, 1, 6], 0] = 1.0
        embeddings[:, [2, 3, 4, 5, 7], 1] = 1.0
        model.queue.embeddings.assign(embeddings)
        model.queue.labels.assign([0] * 6 + [1] * 2 + [NO_LABEL] * 2)
        model.queue.ids.assign(np.arange(100, 110))
        anchors = tf.tile(tf.one_hot([0], width)[tf.newaxis], [queues, 1, 1])
        votes = model.vote(anchors, tf.constant([7], tf.int64), tf.constant([NO_LABEL]))
        self.assertAllEqual(votes.classes, [elected])


class ReplicasTest(tf.test.TestCase, parameterized.TestCase):
    def _history(self, strategy, settings, num_steps):
        """Takes steps on the same global batches; yields what every replica reports, and its copy of every variable."""
        with strategy.scope():
            model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
        step = tf.function(lambda batch: strategy.run(model.train_step, args=(batch,)), autograph=False)
        for number in range(num_steps):
            batch = tiny.distribute(tiny.batch(number, settings), strategy, settings["labelled_batch_size"])
            report = {name: strategy.experimental_local_results(value) for name, value in step(batch).items()}
            yield (
                report,
                [
                    (variable.name, [copy.numpy() for copy in strategy.experimental_local_results(variable)])
                    for variable in model.variables
                ],
            )

    def _assert_replicas_equal_one(self, replicas, settings, num_steps, tolerance):
        several = self._history(testing.replicas(replicas), settings, num_steps)
        one = self._history(testing.replicas(1), settings, num_steps)
        for (report, variables), (expected_report, expected_variables) in zip(several, one, strict=True):
            self.assertCountEqual(report, expected_report)
            for name, copies in report.items():
                self.assertLen(copies, replicas)
                for copy in copies:
                    bound = max(tolerance, 1e-6) if copy.dtype == tf.float32 else tolerance  # confidence, for one
                    self.assertAllClose(copy, expected_report[name][0], rtol=bound, atol=bound, msg=name)
            for (name, copies), (_, (expected,)) in zip(variables, expected_variables, strict=True):
                self.assertLen(copies, replicas)
                for copy in copies:
                    self.assertAllClose(copy, expected, rtol=tolerance, atol=tolerance, msg=name)

    def test_two_replicas_take_the_steps_of_one_to_the_last_digits(self):
        self._assert_to_the_last_digits(2, "lars", for_rare_classes=True)

    @parameterized.parameters((2, "lars", False), (4, "lars", False), (2, "adamw", False), (4, "adamw", False))
    @testing.slow
    def test_replicas_take_the_steps_of_one_to_the_last_digits_in_the_other_cases(self, *case):
        self._assert_to_the_last_digits(*case)

    def _assert_to_the_last_digits(self, replicas, optimiser, for_rare_classes):
        # Four steps, in which the queues wrap, in float64: what differs is not rounding but wrong.
        testing.use_float64(self)
        rates = {"lars": {}, "adamw": {"learning_rate": 0.05, "weight_decay": 0.1}}
        small_views = 1 if replicas == 2 else 0  # four replicas take long enough to trace
        settings = tiny.settings(
            optimiser=optimiser,
            small_views=small_views,
            queue_quotas=for_rare_classes,
            prior_corrected_votes=for_rare_classes,
            same_class_negatives=not for_rare_classes,
            min_vote_share=1.0,
            min_pseudo_label_coverage=0.5 if for_rare_classes else 0.0,
            **rates[optimiser],
        )
        self._assert_replicas_equal_one(replicas, settings, num_steps=4, tolerance=1e-9)

    @testing.slow
    def test_two_replicas_take_the_step_of_one_in_float32_too(self):
        # One replica has another kernel for its batch norm; the gradient's last digits differ, by 3e-6 of 30.
        settings = tiny.settings(learning_rate=1.6, temperature=0.5)
        self._assert_replicas_equal_one(2, settings, num_steps=1, tolerance=1e-6)

    @parameterized.parameters(2, 4)
    def test_replicas_draw_what_one_draws(self, replicas):
        settings = tiny.settings()
        batch = tiny.batch(0, settings)
        classes, queue_labels = batch["truth"], np.array([0, 2, 1, 1, 0, 2, 2, 1, NO_LABEL, NO_LABEL])

        def draws(strategy):
            with strategy.scope():
                model = _model(settings)
                model.queue.labels.assign(queue_labels)

            def draw(batch):
                negatives = model.draw_negatives(tf.constant(batch_groups), tf.constant(5))
                slots, present = model.draw_semantic_positives(batch["truth"], tf.constant(5))
                return negatives, slots, present, model.rows

            batch_groups = batch["groups"]
            shares = tiny.distribute(batch, strategy, settings["labelled_batch_size"])
            results = tf.function(lambda: strategy.run(draw, args=(shares,)))()
            parts = [np.concatenate(strategy.experimental_local_results(result)) for result in results]
            order = np.argsort(parts[-1])
            self.assertAllEqual(parts[-1][order], range(settings["batch_size"]))
            return [part[order] for part in parts[:-1]]

        for several, one in zip(draws(testing.replicas(replicas)), draws(testing.replicas(1)), strict=True):
            self.assertAllEqual(several, one)
        self.assertLen(classes, settings["batch_size"])

    def test_a_step_over_several_gpus_can_be_compiled_by_xla(self):
        # There are none here; TensorFlow is made to take two CPUs for GPUs. It then forbids all that XLA cannot compile there.
        with (
            mock.patch.object(mirrored_strategy, "_is_gpu_device", return_value=True),
            mock.patch.object(mirrored_run, "_is_gpu_device", return_value=True),
        ):
            strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
            settings = tiny.settings()
            with strategy.scope():
                model = _model(settings)
            share = {
                name: tf.split(value, 2, axis=1 if name in ("large", "small") else 0)[0]
                for name, value in _batch(0, settings).items()
            }
            step = tf.function(model.train_step, jit_compile=True, autograph=False)
            traced = tf.function(
                lambda batch: strategy.run(step, args=(batch,)), autograph=False
            ).get_concrete_function(share)
        self.assertIn("loss", traced.structured_outputs)


if __name__ == "__main__":
    tf.test.main()
