"""Results of a comparison by arithmetic, for tests. Imports nothing of ours."""

CLASSIFIERS = ("nearest_neighbours", "logistic_regression", "label_spreading")
REPRESENTATIONS = {"frozen": "features", "supervised": "classifier", "semppl": "projections"}


def measures(value, representation):
    """Returns measures as `evaluate` does, the classifiers 0.01 apart, raw pixels at 0.1."""
    names = ["own"] if representation == "classifier" else CLASSIFIERS
    cells = {
        "raw_pixels": {name: 0.1 + 0.01 * at for at, name in enumerate(CLASSIFIERS)},
        representation: {name: value + 0.01 * at for at, name in enumerate(names)},
    }
    return {"accuracy": cells, "balanced_accuracy": cells}


def runs():
    """Returns method, labels per class, seed and measures of 18 runs.

    Three seeds of three methods at two numbers of labels: SemPPL is above by about 0.2, the others are level.
    """
    luck = {0: 0.0, 1: 0.1, 2: -0.05}
    found = []
    for seed, shift in luck.items():
        for budget in (1, 4):
            level = 0.4 + 0.05 * budget + shift
            values = {
                "semppl": level + 0.2 + 0.001 * seed,
                "frozen": level,
                "supervised": level + (0.02, -0.03, 0.01)[seed],
            }
            found += [(name, budget, seed, measures(value, REPRESENTATIONS[name])) for name, value in values.items()]
    return found
