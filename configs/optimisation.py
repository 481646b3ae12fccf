"""Optimisation: batches, the length of the run, the optimiser and its schedule, precision and the seed."""

import dataclasses

from semppl.configs.setting import SEED, Settings, is_seed, require, setting


@dataclasses.dataclass(frozen=True)
class OptimisationSettings(Settings):
    """How the objective is minimised."""

    initial_run: str = setting(
        "optimisation",
        "",
        "Run folder, for example of an imported checkpoint, whose encoder initialises this run; empty: random weights.",
    )
    initial_weights: str = setting(
        "optimisation",
        "",
        "Weights with which a keras: or kecam: encoder starts: a file of Keras weights (.h5, .weights.h5, .keras), or imagenet, "
        "which is downloaded once; empty: random weights.",
    )
    batch_size: int = setting("optimisation", 4096, "N, global batch size: images per step, over all replicas.")
    labelled_batch_size: int = setting(
        "optimisation", 0, "Labelled images per global batch; 0: their share of the training set."
    )
    steps: int = setting("optimisation", 0, "Length of the run in steps; 0: see --epochs.")
    epochs: float = setting("optimisation", 300.0, "Length of the run in passes over the training images.")
    optimiser: str = setting("optimisation", "lars", "Name of the optimiser: lars, lamb, adamw or sgd.")
    learning_rate: float = setting(
        "optimisation", 0.3, "Peak learning rate at a batch size of 256; multiplied by batch_size / 256."
    )
    encoder_rate_factor: float = setting(
        "optimisation",
        1.0,
        "Factor by which the encoder's learning rate is multiplied; positive, below 1 for fine-tuning.",
    )
    warmup_epochs: float = setting("optimisation", 10.0, "Linear warm-up, in passes over the training images.")
    warmup_steps: int = setting("optimisation", -1, "Linear warm-up, in steps; -1: see --warmup_epochs.")
    weight_decay: float = setting(
        "optimisation",
        1e-6,
        "Weight decay, except of biases and normalisation parameters; LARS and SGD add the decay to the gradient, AdamW multiplies "
        "it by the learning rate, LAMB adds it to Adam's step before the step is scaled.",
    )
    momentum: float = setting("optimisation", 0.9, "Momentum of LARS and SGD; β₁ of AdamW and LAMB.")
    trust_coefficient: float = setting(
        "optimisation",
        1e-3,
        "η of LARS, positive: norm of a step as a share of the weights' norm, before the learning rate multiplies it.",
    )
    target_decay: float = setting(
        "optimisation",
        0.99,
        "Initial decay of the target network's moving average; rises to 1 over the run, or with moco stays constant.",
    )
    precision: str = setting(
        "optimisation",
        "float32",
        "Precision of the networks: float32 or bfloat16. float32 products run as TF32 on GPUs and as passes of bfloat16 on TPUs, "
        "TensorFlow's defaults; bfloat16 keeps variables in float32.",
    )
    accumulate_steps: int = setting(
        "optimisation",
        1,
        "Micro-batches into which a replica's images are divided to save memory; the objective sees the whole batch, batch norm "
        "one micro-batch of all replicas.",
    )
    gradient_checkpointing: bool = setting(
        "optimisation",
        False,
        "Whether the activations within residual blocks are recomputed for the gradient instead of stored.",
    )
    seed: int = setting("optimisation", 0, "Seed of initial weights, batches, augmentations and random draws.")

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up."""
        return self.learning_rate * self.batch_size / 256

    def check(self) -> None:
        """Validates the group."""
        below = f"in 0..batch_size={self.batch_size}"
        fits = 0 <= self.labelled_batch_size <= self.batch_size
        require(fits, "labelled_batch_size", below, self.labelled_batch_size)
        divides, parts = f"a divisor of batch_size={self.batch_size}", self.accumulate_steps
        require(parts >= 1 and self.batch_size % parts == 0, "accumulate_steps", divides, parts)
        self.require_each(("weight_decay", "learning_rate"), lambda value: value >= 0, "0 or more")
        require(self.trust_coefficient > 0, "trust_coefficient", "positive", self.trust_coefficient)
        require(self.encoder_rate_factor > 0, "encoder_rate_factor", "positive", self.encoder_rate_factor)
        require(
            not (self.initial_run and self.initial_weights),
            "initial_weights",
            "empty with --initial_run",
            self.initial_weights,
        )
        require(0 <= self.momentum < 1, "momentum", "in 0..1, below 1", self.momentum)
        require(0 <= self.target_decay <= 1, "target_decay", "in 0..1", self.target_decay)
        self.require_each(("seed",), is_seed, SEED)
        self._check_length()

    def _check_length(self) -> None:
        require(
            self.steps > 0 or (self.steps == 0 and self.epochs > 0),
            "steps",
            "positive, or 0, which means as many as --epochs (above 0) takes",
            self.steps,
        )
        require(self.warmup_epochs >= 0, "warmup_epochs", "0 or more", self.warmup_epochs)
        require(self.warmup_steps >= -1, "warmup_steps", "-1 or more", self.warmup_steps)
