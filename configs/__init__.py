"""What a run is told: hyper-parameters that validate themselves, and the presets (flag files)."""
