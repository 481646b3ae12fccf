"""Evaluation during training: the nearest neighbour on held-out images, and the health of embeddings and votes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.wording import counted
from semppl.data.images import NO_LABEL, Images, Source
from semppl.evaluation import health
from semppl.evaluation.features import embed, map_rows, preparation_of
from semppl.evaluation.neighbours.directions import unit
from semppl.evaluation.neighbours.nearest_neighbours import nearest_neighbour_classes
from semppl.layers.pseudo_labels import nearest_neighbour_vote
from semppl.trainers.method import Method
from semppl.trainers.reports.callbacks import WHAT_NOW, NotFinite
from semppl.trainers.reports.distributions import Distributions, pseudo_label_confusion, split_similarities
from semppl.trainers.reports.turns import Turn, tenth
from semppl.trainers.reports.views_grid import ViewsOfAFew

HELD_OUT = 500
LABELLED = 500
VIEWED = 128
"""Numbers of images that are examined, evenly spaced among all."""


class Examination:
    """Measures a model on the same images at every call.

    Args:
        model: Method that is trained.
        source: Images and their ground truth; accuracy is measured on `validation`, or else on `test`.
        labels: `[n]` int32 visible label of each training image; NO_LABEL where hidden.
    """

    def __init__(self, model: Method, source: Source, labels: np.ndarray) -> None:
        self._model = model
        self._class_names = source.class_names
        self._prepare = preparation_of(model.hyperparameters)
        self._frozen = model.hyperparameters.train != "all"
        network = model.online
        self._embed = tf.function(
            network.project if "projector" in model.trained_parts else network.features, autograph=False
        )
        predict = network.call if "predictor" in model.trained_parts else network.project
        self._predict = tf.function(predict, autograph=False)
        visible = _few(np.flatnonzero(labels != NO_LABEL), LABELLED)
        self._memory, self._memory_labels = self._inputs(source.train, visible), labels[visible]
        images = source.validation if source.validation is not None else source.test
        self._queries: _Inputs | None = None
        self._truth = np.zeros(0, np.int32)
        if images is not None and len(visible):
            known = _few(np.flatnonzero(images.labels != NO_LABEL), HELD_OUT)
            self._truth = images.labels[known]
            self._queries = self._inputs(images, known) if len(known) else None
        views = ViewsOfAFew(source.train, model.hyperparameters, count=VIEWED)
        self._views = [self._inputs_of_views(view) for view in views(0).large[:2]]
        self._views_truth = source.train.labels[views.positions]
        self._latest = Distributions({}, None)
        groups = source.train.groups
        self._groups = views.positions.astype(np.int64) if groups is None else groups[views.positions]

    def findings(self) -> health.Findings:
        """Returns the record of what is wrong with the run, as yet empty."""
        settings = self._model.hyperparameters
        return health.Findings(
            last_step=settings.steps,
            width=self._map(self._embed, self._views[0][:1]).shape[1],
            labelled_entropy=health.class_entropy(self._memory_labels, len(self._class_names)),
            held_out=len(self._truth),
        )

    def __call__(self) -> dict[str, float]:
        """Returns the measures of the model as it is, by name.

        Returns:
            held_out_accuracy: Share of correct classes by the nearest labelled image; only where held-out images have labels.
            effective_rank, spread, uniformity: Of one view of each image, see `evaluation.health`.
            alignment, view_agreement, view_separation: Of two views of each image, where the run has two large views.
            vote_entropy: `class_entropy` of the classes that the labelled queue elects for the images; and "elected/NAME", the
                share of images of each class. Only where the run has a queue with an entry, and at most 20 classes by name.
        """
        measures: dict[str, float] = {}
        self._latest = Distributions({}, None)
        if self._queries is not None:
            memory, queries = self._map(self._embed, self._memory), self._map(self._embed, self._queries)
            similarities = split_similarities(unit(queries) @ unit(memory).T, self._truth, self._memory_labels)
            self._latest = self._latest._replace(similarities=similarities)
            classes = nearest_neighbour_classes(queries, memory, self._memory_labels, k=1)
            measures["held_out_accuracy"] = float(np.mean(classes == self._truth))
        first, *others = (unit(self._map(self._embed, view)) for view in self._views)
        measures["effective_rank"] = health.effective_rank(first)
        measures["spread"] = health.spread(first)
        if len(first) > 1:
            measures["uniformity"] = health.uniformity(first)
            for second in others:
                measures["alignment"] = health.alignment(first, second)
                measures["view_agreement"] = health.view_agreement(first, second)
                measures["view_separation"] = health.view_separation(first, second)
        return measures | self._elections()

    def distributions(self) -> Distributions:
        """Returns the distributions of the latest call."""
        return self._latest

    def _elections(self) -> dict[str, float]:
        queue = getattr(self._model, "queue", None)
        if queue is None:
            return {}
        settings = self._model.hyperparameters
        voting = settings.num_voting_views
        votes = nearest_neighbour_vote(
            tf.stack([self._map(self._predict, view) for view in self._views[:voting]]),
            tf.constant(self._groups),
            queue.embeddings[:voting],
            queue.labels,
            queue.groups,
            k=settings.neighbours,
            prior_corrected=settings.prior_corrected_votes,
        )
        classes = votes.classes.numpy()
        confusion = pseudo_label_confusion(classes, self._views_truth, len(self._class_names))
        self._latest = self._latest._replace(confusion=confusion)
        classes = classes[classes != NO_LABEL]
        if not len(classes):
            return {}
        count = len(self._class_names)
        measures = {"vote_entropy": health.class_entropy(classes, count)}
        if count <= _MAX_CLASSES_BY_NAME:
            shares = np.bincount(classes, minlength=count) / len(classes)
            measures |= {f"elected/{name}": float(share) for name, share in zip(self._class_names, shares, strict=True)}
        return measures

    def _inputs(self, images: Images, positions: np.ndarray) -> "_Inputs":
        """Returns what the network takes: features of a frozen encoder, computed once, or the images themselves."""
        if self._frozen and len(positions):
            return embed(self._model.online.encode, images, prepare=self._prepare, positions=positions)
        return images, positions

    def _inputs_of_views(self, view: np.ndarray) -> np.ndarray:
        """Returns features of a frozen encoder, computed once, or the views themselves."""
        return map_rows(self._model.online.encode, view, batch_size=_BATCH) if self._frozen else view

    def _map(self, function: Callable[[tf.Tensor], tf.Tensor], inputs: "_Inputs") -> np.ndarray:
        """Maps images or features through a compiled function of the network: `[n, D]`.

        Raises:
            NotFinite: If an embedding contains NaN or Inf.
        """
        if isinstance(inputs, np.ndarray):
            rows = map_rows(function, inputs, batch_size=_BATCH)
        else:
            images, positions = inputs
            rows = embed(function, images, prepare=self._prepare, positions=positions, batch_size=_BATCH)
        if not np.all(np.isfinite(rows)):
            raise NotFinite(f"embeddings of training or held-out images contain NaN or Inf. {WHAT_NOW}")
        return rows


_Inputs = np.ndarray | tuple[Images, np.ndarray]
_BATCH = 128
_MAX_CLASSES_BY_NAME = 20


def _few(positions: np.ndarray, count: int) -> np.ndarray:
    """Takes at most `count` positions, evenly spaced."""
    return positions[np.unique(np.linspace(0, len(positions) - 1, min(count, len(positions))).astype(int))]


class Examine(tf.keras.callbacks.Callback):
    """Examines the model every few steps and at the end, and prints the accuracy and what is wrong.

    A run that is shorter than the interval is not examined.

    Args:
        examination: Function that returns measures of the model.
        findings: Findings about the run.
        report: Function that takes measures, by name, into the step's report.
        draw: Function that writes the distributions of the latest examination, for a step.
        every: Steps between examinations; 0: a tenth of the run's, and at least 100.
        first_step: Step at which this process starts.
        last_step: Last step of the run.
        say: Function that prints a line.
    """

    def __init__(
        self,
        examination: Callable[[], dict[str, float]],
        findings: health.Findings,
        report: Callable[[dict[str, float]], None],
        draw: Callable[[int], None],
        *,
        every: int,
        first_step: int,
        last_step: int,
        say: Callable[[str], None] = print,
    ) -> None:
        super().__init__()
        self._examination = examination
        self._findings = findings
        self._report = report
        self._draw = draw
        every = every or tenth(last_step)
        self._turn = Turn(every, first_step)
        self._last_step = last_step if last_step >= every else None
        self._say = say

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any]) -> None:
        """Examines at the end of an interval and at the last step."""
        step = int(self.model.optimizer.iterations.numpy())
        if not self._turn.comes_at(step) and step != self._last_step:
            return
        measures = self._examination()
        self._report(measures)
        self._draw(step)
        parts = [f"effective rank {measures['effective_rank']:.1f} of {self._findings.width}"]
        if "held_out_accuracy" in measures:
            images = counted(self._findings.held_out, "held-out image")
            parts.insert(0, f"accuracy {measures['held_out_accuracy']:.3f} on {images} (nearest labelled image)")
        self._say(f"step {step}: {'; '.join(parts)}")
        for finding in self._findings.of(step, measures):
            self._say(f"warning: step {step}: {finding}")
