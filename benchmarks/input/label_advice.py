r"""Measures advice on labels, by features of a pretrained encoder: pictures to label against random ones, and planted label errors.

python -m semppl.benchmarks.input.label_advice --preset=own_pictures_cpu --data=tfds:cifar10 --data_dir=tfds --validation=0.8 \
  --shrink=0 --recipe=cifar --large_size=96 --label_fraction=1 --initial_weights=mobilenet_v2_dogs.weights.h5
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import pathlib
from collections.abc import Callable

import numpy as np
from absl import flags

from semppl.programs import quiet
from semppl.programs.extras import has_extra
from semppl.programs.hyperparameter_flags import hyperparameters_from_flags

_BUDGETS = flags.DEFINE_list("budgets", ["10", "40"], "Numbers of pictures to label.")
_LABELLED = flags.DEFINE_list(
    "labelled", ["500", "2000", "10000"], "Numbers of labelled pictures, with planted errors."
)
_SEEDS = flags.DEFINE_integer("draws", 5, "Number of draws: of random pictures, of planted errors, of k-means.")
_LISTS = flags.DEFINE_string("lists", "", "Folder for files of --label_list: positions of the chosen pictures.")

quiet.parse_flags(__name__, check=hyperparameters_from_flags)

from semppl.data.splits import load_splits
from semppl.evaluation.advice.embedded import encoder_features
from semppl.evaluation.advice.selection import COVERAGE, TYPICAL, suggest_rows
from semppl.evaluation.advice.suspicion import doubt_labels
from semppl.evaluation.logistic_regression import logistic_regression_classes

_ERRORS = 0.1  # share of the labels that are replaced by another class
_FIRST = 50  # pictures of a ranking that are looked at


def label_accuracies(
    features: np.ndarray, truth: np.ndarray, test: np.ndarray, test_truth: np.ndarray, budget: int, draws: int
) -> dict[str, tuple[list[float], list[np.ndarray]]]:
    """Labels pictures that a strategy chooses, and classifies test pictures by logistic regression.

    Args:
        features: `[n, D]` features of the training pictures.
        truth: Integers `[n]`.
        test: `[t, D]` features of the test pictures.
        test_truth: Integers `[t]`.
        budget: Number of pictures to label; there are no labels before.
        draws: Number of draws.

    Returns:
        Accuracies, and rows that were chosen, of each draw, by strategy.
    """
    hidden, classes = np.full(len(truth), -1), len(np.unique(truth))
    chosen: dict[str, Callable[[int], np.ndarray]] = {
        "random": lambda seed: np.random.default_rng(seed).permutation(len(truth))[:budget],
        TYPICAL: lambda seed: suggest_rows(features, hidden, classes, budget, strategy=TYPICAL, seed=seed)[0],
        COVERAGE: lambda seed: suggest_rows(features, hidden, classes, budget, strategy=COVERAGE, seed=seed)[0],
    }
    found = {}
    for name, choose in chosen.items():
        rows = [choose(seed) for seed in range(draws)]
        classified = [logistic_regression_classes(features[r], truth[r], test, population=features) for r in rows]
        found[name] = [float(np.mean(classes == test_truth)) for classes in classified], rows
    return found


def precisions(features: np.ndarray, truth: np.ndarray, count: int, seed: int) -> dict[str, float]:
    """Plants errors in the labels of random pictures; returns the share of errors among the first 50, by ranking."""
    random, classes = np.random.default_rng(seed), int(truth.max()) + 1
    rows = random.permutation(len(truth))[:count]
    labels, wrong = truth[rows].copy(), np.zeros(count, bool)
    wrong[random.permutation(count)[: round(_ERRORS * count)]] = True
    labels[wrong] = (labels[wrong] + random.integers(1, classes, int(wrong.sum()))) % classes
    doubts = doubt_labels(features[rows], labels)
    scores = {"margin of the vote": doubts.margins}
    if has_extra("quality"):
        from cleanlab import rank

        scores["cleanlab, adjusted margin (semppl-suspects)"] = doubts.scores
        scores["cleanlab, self-confidence"] = rank.get_label_quality_scores(labels, doubts.ballot.shares)
    return {name: float(wrong[np.argsort(score, kind="stable")[:_FIRST]].mean()) for name, score in scores.items()}


def _figures(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})"


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    hyperparameters, draws = hyperparameters_from_flags(), _SEEDS.value
    source = load_splits(hyperparameters)
    mapped, _ = encoder_features(hyperparameters)
    train, test = source.train, source.held_out("test")
    features, test_features = mapped(train), mapped(test)
    print(f"{len(train)} training pictures, {len(test)} test pictures; mean ± standard deviation of {draws} draws")
    for budget in map(int, _BUDGETS.value):
        found = label_accuracies(features, train.labels, test_features, test.labels, budget, draws)
        for name, (accuracies, rows) in found.items():
            kinds = [len(np.unique(train.labels[part])) for part in rows]
            print(f"{budget} labels, {name}: {_figures(accuracies)}, classes {kinds}", flush=True)
            for draw, part in enumerate(rows) if _LISTS.value else ():
                path = pathlib.Path(_LISTS.value) / f"{name}_{budget}_{draw}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join(map(str, part)) + "\n", encoding="utf-8")
    for count in (int(count) for count in _LABELLED.value if int(count) <= len(train)):
        results = [precisions(features, train.labels, count, seed) for seed in range(draws)]
        for name in results[0]:
            print(f"{count} labels, {name}: {_figures([result[name] for result in results])}", flush=True)
    return 0


if __name__ == "__main__":
    quiet.run(main)
