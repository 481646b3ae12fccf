"""Records prediction sets of MAPIE and crepes, and thresholds of MAPIE's risk control, where these are installed.

`python tests/export/memory/conformal_recorded.py` with MAPIE 1.6.0, crepes 0.9.1 and scikit-learn 1.9.1 wrote the file.
"""

import json
import pathlib
from typing import Any

import numpy as np

FILE = pathlib.Path(__file__).resolve().parents[2] / "goldens" / "conformal.json"
COVERAGES = (0.51, 0.8, 0.93, 0.95)  # crepes has another set where (n + 1) (1 - coverage) is whole
RISKS = (0.1, 0.2, 0.3)
CERTAINTIES = (0.7, 0.9)
THRESHOLDS = tuple(step / 40 for step in range(10, 40))
_CLASSES = 4


def case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns probabilities `[157, 4]` and true classes `[157]` to calibrate on, and probabilities `[60, 4]` to answer."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([0.3] * _CLASSES, 217)
    truth = (rng.uniform(size=(217, 1)) > np.cumsum(probabilities, 1)[:, :-1]).sum(1)
    return probabilities[:157], truth[:157], probabilities[157:]


def written(sets: np.ndarray) -> list[str]:
    """Writes prediction sets, bool `[n, C]`, as one text of zeros and ones per picture."""
    return ["".join(str(int(member)) for member in row) for row in sets]


def _mapie(coverage: float) -> list[str]:
    from mapie.classification import SplitConformalClassifier
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        """Gives its input as probabilities."""

        classes_ = np.arange(_CLASSES)
        is_fitted_ = True

        def predict_proba(self, rows: np.ndarray) -> np.ndarray:
            return rows

        def predict(self, rows: np.ndarray) -> np.ndarray:
            return rows.argmax(1)

    probabilities, truth, queries = case()
    model = SplitConformalClassifier(Given(), confidence_level=coverage, conformity_score="lac")
    return written(model.conformalize(probabilities, truth).predict_set(queries)[1][:, :, 0])


def _crepes(coverage: float) -> list[str]:
    import crepes

    probabilities, truth, queries = case()
    scores = 1 - probabilities[np.arange(len(truth)), truth]
    model = crepes.ConformalClassifier().fit(scores)
    return written(model.predict_set(1 - queries, confidence=coverage, smoothing=False))


def _safe(risk: float, certainty: float) -> list[float]:
    """Returns the thresholds at which MAPIE, by a test of one threshold alone, is sure of the risk."""
    from mapie.risk_control import BinaryClassificationController

    probabilities, truth, _ = case()
    confidences, correct = probabilities.max(1), probabilities.argmax(1) == truth
    rows = np.stack([1 - confidences, confidences], 1)
    safe = []
    for threshold in THRESHOLDS:
        controller = BinaryClassificationController(
            lambda given: given,
            "precision",
            target_level=1 - risk,
            confidence_level=certainty,
            list_predict_params=np.array([threshold]),
        )
        safe += [threshold] if len(controller.calibrate(rows, correct.astype(int)).valid_predict_params) else []
    return safe


def made() -> dict[str, Any]:
    """Returns all that is recorded."""
    sets = {name: {str(c): of(c) for c in COVERAGES} for name, of in (("mapie", _mapie), ("crepes", _crepes))}
    return sets | {
        "safe": {f"{risk} {certainty}": _safe(risk, certainty) for risk in RISKS for certainty in CERTAINTIES}
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(made(), indent=1) + "\n", encoding="utf-8")
