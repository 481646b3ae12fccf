"""Runs SimCLR's training step with lightly 1.6: a process with torch and lightly, and without TensorFlow.

    python lightly_step.py resnet18 64 float32

Takes one step per line on standard input, and prints its seconds.
"""

import sys
import time
from collections.abc import Callable

PINS = {"torch": "2.13.0", "torchvision": "0.28.0", "lightly": "1.6.0"}

_SIZE = 32
_PROJECTOR = (512, 128)  # hidden and output width, as ours


def make_step(encoder: str, batch_size: int, precision: str) -> Callable[[], object]:
    """Returns a step of SimCLR: two views, in-batch negatives, LARS.

    Args:
        encoder: Name of a ResNet of torchvision, which gets the CIFAR stem.
        batch_size: Images per step.
        precision: float32 or bfloat16.
    """
    import torch

    # torchvision 0.28 looks for the schemas of its compiled operators, which its CPU build lacks.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.utils.lars import LARS

    torch.manual_seed(0)
    network = getattr(torchvision.models, encoder)()
    network.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = torch.nn.Identity()
    width = network.fc.in_features
    network.fc = torch.nn.Identity()
    model = torch.nn.Sequential(network, SimCLRProjectionHead(width, *_PROJECTOR)).to(memory_format=torch.channels_last)
    criterion, optimiser = NTXentLoss(temperature=0.2), LARS(model.parameters(), lr=0.1, weight_decay=1e-6)
    views = [torch.rand(batch_size, 3, _SIZE, _SIZE).to(memory_format=torch.channels_last) for _ in range(2)]

    def step(schemas: object = library) -> object:
        del schemas  # they live as long as their library does
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            embeddings = [model(view) for view in views]
        loss = criterion(*(embedding.float() for embedding in embeddings))
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def main() -> None:
    """Times steps on request, over standard input and output."""
    encoder, batch_size, precision = sys.argv[1:]
    step = make_step(encoder, int(batch_size), precision)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
