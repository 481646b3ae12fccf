"""The flag --seeds of programs that train the same settings with several seeds."""

from absl import flags

from semppl.configs.setting import SEED, is_seed

# Here, because two modules that define the same flag cannot be imported together.
_SEEDS = flags.DEFINE_string(
    "seeds",
    None,
    "Number of seeds, from 0 on, or two or more seeds with commas between. A seed decides the draw of the labelled images and "
    "the training. By default 3 for a comparison, else 1.",
)


def seeds_from_flag(*, default: int) -> list[int]:
    """Returns the seeds on the command line; without any, so many from 0 on.

    Raises:
        ValueError: If there is no number, no seed, or a seed twice.
    """
    text = _SEEDS.value or str(default)
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    seeds = list(range(numbers[0])) if len(numbers) == 1 else numbers
    if not seeds or len(set(seeds)) < len(seeds) or not all(map(is_seed, seeds)):
        allowed = f"a number from 1 on, or different seeds {SEED} with commas between"
        raise ValueError(f"--seeds must be {allowed}. Received: {text}")
    return seeds
