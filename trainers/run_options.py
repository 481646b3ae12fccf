"""How a run is executed: what may differ between two processes that train the same run."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Options of one execution of a run; none of them is a hyper-parameter.

    Attributes:
        strategy: Name of the devices: auto, default (one), mirrored (all of this machine), multiworker (all that TF_CONFIG
            names) or tpu.
        tpu: Name or `grpc://` address of a TPU; `local` for one of this machine; empty for the one that TPU_NAME names.
        worker_patience: Seconds that the other workers have to start.
        jit_compile: XLA compilation of the step: auto (on TPU and GPU, not on CPU), true or false.
        steps_per_execution: Steps per call of the training function. Reports and checkpoints are written once per group of
            steps; with more than one, input wait time is not measured.
        checkpoint_every: Steps between checkpoints.
        checkpoint_minutes: Minutes after a checkpoint after which the next step is saved, whatever its number; 0: never.
        log_every: Steps between reports.
        eval_every: Steps between evaluations on held-out images; 0: a tenth of the run's, and at least 100.
        profile_steps: `FIRST,LAST` steps to profile; empty for no profile.

    Raises:
        ValueError: If a number of steps or seconds is below 1, or of minutes, or of steps between evaluations, below 0.
    """

    strategy: str = "auto"
    tpu: str = ""
    worker_patience: float = 600.0
    jit_compile: str = "auto"
    steps_per_execution: int = 1
    checkpoint_every: int = 500
    checkpoint_minutes: float = 2.0
    log_every: int = 10
    eval_every: int = 0
    profile_steps: str = ""

    def __post_init__(self) -> None:
        for name in ("worker_patience", "steps_per_execution", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be 1 or more. Received: {getattr(self, name)}")
        if self.eval_every < 0:
            raise ValueError(f"--eval_every must be 0 or more. Received: {self.eval_every}")
        if not self.checkpoint_minutes >= 0:  # nor NaN
            raise ValueError(f"--checkpoint_minutes must be 0 or more. Received: {self.checkpoint_minutes}")
