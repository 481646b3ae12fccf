"""Which folders hold code, and what each may import of ours: CONTRIBUTING.md has the same as a table."""

FOLDERS = (
    "benchmarks",
    "configs",
    "data",
    "doctor",
    "evaluation",
    "experiments",
    "export",
    "layers",
    "losses",
    "programs",
    "runs",
    "tests",
    "trainers",
)
MAY_IMPORT = {  # a folder, or a room of one; never a single file
    "configs": set(),
    "losses": set(),
    "programs": {"configs", "runs"},
    "layers": {"losses"},
    "runs": {"configs", "layers"},
    "data": {"configs", "runs"},
    "doctor": {"configs", "data", "programs", "runs"},
    "evaluation": {"configs", "data", "layers", "programs", "runs"},
    "trainers": {"configs", "data", "evaluation", "layers", "losses", "programs", "runs"},
    "export": {"configs", "layers", "programs", "runs"},
    "export.collections": {"configs", "data", "export", "layers", "runs"},  # reads pictures as training does
    "export.memory": {"configs", "data", "export", "layers", "runs"},  # remembers the run's labelled images
    "experiments": set(FOLDERS) - {"benchmarks", "tests"},
    "benchmarks": set(FOLDERS) - {"tests"},
    "tests": set(FOLDERS),
    "semppl": set(FOLDERS) - {"benchmarks", "experiments", "tests"},  # the door: lazily, see the_door_imports_lazily
}
