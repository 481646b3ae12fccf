"""Settings of single methods of the family; each applies to the method that its name begins with."""

import dataclasses

from semppl.configs.setting import Settings, require, setting


@dataclasses.dataclass(frozen=True)
class FamilySettings(Settings):
    """What single methods need beside the objective's settings.

    Raises:
        ValueError: If a setting of one method is changed for another.
    """

    simclr_class_prior: float = setting(
        "family", 0.0, "τ⁺ of debiased SimCLR: probability that another image has the anchor's class; 0: not debiased."
    )

    def check(self) -> None:
        """Validates the group."""
        require(0 <= self.simclr_class_prior < 1, "simclr_class_prior", "in [0, 1)", self.simclr_class_prior)

    def require_own(self, method: str) -> None:
        """Requires the defaults of all settings that belong to other methods."""
        for field in dataclasses.fields(FamilySettings):
            value = getattr(self, field.name)
            fits = field.name.startswith(f"{method}_") or value == field.default
            require(fits, field.name, f"{field.default} with --method={method}", value)
