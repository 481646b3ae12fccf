"""Runs a method's training step with lightly 1.6: a process with torch and lightly, and without TensorFlow.

    python lightly_step.py simclr resnet18 64 float32

Takes one step per line on standard input, and prints its seconds.
"""

import copy
import sys
import time
from collections.abc import Callable
from typing import Any

PINS = {"torch": "2.13.0", "torchvision": "0.28.0", "lightly": "1.6.0"}

METHODS = ("simclr", "moco", "byol", "nnclr", "swav", "barlow_twins")
"""Names of the methods that lightly has too."""

HIDDEN, OUTPUT = 512, 128
"""Widths of projector and predictor, as ours: two layers each."""

ENTRIES, PROTOTYPES = 4096, 512

_SIZE = 32
_TEMPERATURE = 0.2


def define_operators() -> object:
    """Defines the schemas that torchvision 0.28 looks for and its CPU build lacks; they live as long as the result."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def make_step(method: str, encoder: str, batch_size: int, precision: str) -> Callable[[], object]:
    """Returns a step of a method on two views, with LARS.

    Args:
        method: One of `METHODS`.
        encoder: Name of a ResNet of torchvision, which gets the CIFAR stem.
        batch_size: Images per step.
        precision: float32 or bfloat16.
    """
    import torch

    schemas = define_operators()
    from lightly.utils.lars import LARS

    torch.manual_seed(0)
    online = torch.nn.ModuleDict(_online(encoder, method)).to(memory_format=torch.channels_last)
    compare = {
        "simclr": _simclr,
        "moco": _moco,
        "byol": _byol,
        "nnclr": _nnclr,
        "swav": _swav,
        "barlow_twins": _barlow_twins,
    }[method](online)
    optimiser = LARS(online.parameters(), lr=0.1, weight_decay=1e-6)
    views = [torch.rand(batch_size, 3, _SIZE, _SIZE).to(memory_format=torch.channels_last) for _ in range(2)]

    def step(schemas: object = schemas) -> object:
        del schemas
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = compare(*views)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def _online(encoder: str, method: str) -> dict[str, Any]:
    """Returns the parts that are trained: projector after encoder, and predictor or prototypes where the method has some."""
    import torch
    import torchvision
    from lightly.models.modules import SwaVPrototypes

    network = getattr(torchvision.models, encoder)()
    network.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = torch.nn.Identity()
    width = network.fc.in_features
    network.fc = torch.nn.Identity()
    parts: dict[str, Any] = {"project": torch.nn.Sequential(network, _head(width))}
    if method in ("byol", "nnclr"):
        parts["predict"] = _head(OUTPUT)
    if method == "swav":
        parts["prototypes"] = SwaVPrototypes(OUTPUT, PROTOTYPES)
    return parts


def _head(width: int) -> Any:
    from lightly.models.modules.heads import ProjectionHead
    from torch.nn import BatchNorm1d, ReLU

    return ProjectionHead([(width, HIDDEN, BatchNorm1d(HIDDEN), ReLU()), (HIDDEN, OUTPUT, None, None)])


def _simclr(online: Any) -> Callable[..., Any]:
    from lightly.loss import NTXentLoss

    criterion = NTXentLoss(temperature=_TEMPERATURE)
    return lambda *views: criterion(*(online["project"](view).float() for view in views))


def _barlow_twins(online: Any) -> Callable[..., Any]:
    from lightly.loss import BarlowTwinsLoss

    criterion = BarlowTwinsLoss()
    return lambda *views: criterion(*(online["project"](view).float() for view in views))


def _moco(online: Any) -> Callable[..., Any]:
    from lightly.loss import NTXentLoss

    criterion = NTXentLoss(temperature=_TEMPERATURE, memory_bank_size=(ENTRIES, OUTPUT))
    target = _Target(online["project"])

    def compare(*views: Any) -> Any:
        keys = target(views)
        queries = [online["project"](view).float() for view in views]
        return (criterion(queries[0], keys[1]) + criterion(queries[1], keys[0])) / 2

    return compare


def _byol(online: Any) -> Callable[..., Any]:
    from lightly.loss import NegativeCosineSimilarity

    criterion, target = NegativeCosineSimilarity(), _Target(online["project"])

    def compare(*views: Any) -> Any:
        targets = target(views)
        predictions = [online["predict"](online["project"](view)).float() for view in views]
        return (criterion(predictions[0], targets[1]) + criterion(predictions[1], targets[0])) / 2

    return compare


def _nnclr(online: Any) -> Callable[..., Any]:
    from lightly.loss import NTXentLoss
    from lightly.models.modules import NNMemoryBankModule

    criterion, nearest = NTXentLoss(temperature=_TEMPERATURE), NNMemoryBankModule(size=(ENTRIES, OUTPUT))

    def compare(*views: Any) -> Any:
        projections = [online["project"](view) for view in views]
        predictions = [online["predict"](projection).float() for projection in projections]
        neighbours = [nearest(p.float().detach(), update=not n) for n, p in enumerate(projections)]
        return (criterion(neighbours[0], predictions[1]) + criterion(neighbours[1], predictions[0])) / 2

    return compare


def _swav(online: Any) -> Callable[..., Any]:
    import torch
    from lightly.loss import SwaVLoss

    criterion = SwaVLoss(temperature=0.1)

    def compare(*views: Any) -> Any:
        online["prototypes"].normalize()
        unit = [torch.nn.functional.normalize(online["project"](view).float(), dim=1) for view in views]
        return criterion([online["prototypes"](each) for each in unit], [])

    return compare


class _Target:
    """A moving average of the encoder and the projector."""

    def __init__(self, online: Any) -> None:
        self.online, self.average = online, copy.deepcopy(online)
        for parameter in self.average.parameters():
            parameter.requires_grad = False

    def __call__(self, views: Any) -> list[Any]:
        import torch
        from lightly.models.utils import update_momentum

        update_momentum(self.online, self.average, m=0.99)
        with torch.no_grad():
            return [self.average(view).float() for view in views]


def main() -> None:
    """Times steps on request, over standard input and output."""
    method, encoder, batch_size, precision = sys.argv[1:]
    step = make_step(method, encoder, int(batch_size), precision)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
