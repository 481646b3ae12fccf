"""Records losses of lightly 1.6: `python -m semppl.tests.losses.baselines.recorded` where torch and lightly are installed.

Needs no TensorFlow. Inputs are drawn anew by the test; only values are stored.
"""

import json
import pathlib

import numpy as np

FILE = pathlib.Path(__file__).resolve().parents[2] / "goldens" / "lightly_losses.json"
TEMPERATURE = 0.3
PROTOTYPES, EPSILON, REDUNDANCY = 6, 0.4, 0.02
_IMAGES, _WIDTH, _ENTRIES = 8, 5, 11


def rows(*shape: int, seed: int) -> np.ndarray:
    """Returns random rows `[..., D]` in float64, not normalised."""
    return np.random.default_rng(seed).normal(size=shape)


def unit(values: np.ndarray) -> np.ndarray:
    """Returns `[..., D]` rows of unit norm."""
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def embeddings(num_views: int, *, seed: int) -> np.ndarray:
    """Returns embeddings of the views of eight images, `[V, 8, 5]`."""
    return rows(num_views, _IMAGES, _WIDTH, seed=seed)


def queue() -> np.ndarray:
    """Returns two queues of unit-norm entries, `[2, 11, 5]`."""
    return unit(rows(2, _ENTRIES, _WIDTH, seed=9))


def scores() -> np.ndarray:
    """Returns cosines of two large views and a small one with prototypes, `[3, 8, 6]`."""
    return np.einsum("vbd,kd->vbk", unit(embeddings(3, seed=0)), unit(rows(PROTOTYPES, _WIDTH, seed=1)))


def _record() -> dict[str, object]:
    import torch

    schemas = torch.library.Library("torchvision", "DEF")  # which torchvision 0.28 looks for, and its CPU build lacks
    for name in ("nms", "qnms"):
        schemas.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, NTXentLoss, SwaVLoss
    from lightly.models.modules import NNMemoryBankModule

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float64)

    anchors, others = map(tensor, embeddings(2, seed=0)), map(tensor, embeddings(2, seed=2))
    (a, b), (c, d) = anchors, others
    nt_xent, cosine = NTXentLoss(temperature=TEMPERATURE), NegativeCosineSimilarity()
    swav = SwaVLoss(temperature=TEMPERATURE, sinkhorn_iterations=3, sinkhorn_epsilon=EPSILON)

    def moco(query: torch.Tensor, key: torch.Tensor, bank: np.ndarray) -> float:
        loss = NTXentLoss(temperature=TEMPERATURE, memory_bank_size=(_ENTRIES, _WIDTH))
        loss.memory_bank.bank = tensor(bank)
        return loss(query, key).item()

    nearest = NNMemoryBankModule(size=(_ENTRIES, _WIDTH))
    nearest.bank = tensor(queue()[0])
    neighbours = [nearest(each, update=False) for each in (a, b)]
    views = [tensor(view) for view in scores()]
    del schemas
    return {
        "nt_xent": nt_xent(a, b).item(),
        "byol": [cosine(a, d).item(), cosine(b, c).item()],
        "moco": [moco(a, d, queue()[1]), moco(b, c, queue()[0])],
        "swav": swav(views[:2], views[2:]).item(),
        "barlow_twins": BarlowTwinsLoss(lambda_param=REDUNDANCY)(a, b).item(),
        "neighbours": [each.tolist() for each in neighbours],
        "nnclr": [nt_xent(neighbours[0], d).item(), nt_xent(neighbours[1], c).item()],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(_record(), indent=1) + "\n", encoding="utf-8")
