"""The settings of a run: hyper-parameters that validate themselves, and the presets (flag files)."""
