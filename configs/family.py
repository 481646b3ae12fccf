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
    barlow_twins_redundancy_weight: float = setting(
        "family", 0.0051, "λ of Barlow Twins, weight of the correlations of different dimensions."
    )
    swav_prototypes: int = setting("family", 3000, "K, number of SwAV's prototypes.")
    swav_epsilon: float = setting(
        "family",
        0.05,
        "ε of SwAV, weight of the entropy of the assignments: the smaller, the nearer to 0 and 1 they are.",
    )
    swav_frozen_steps: int = setting(
        "family", 313, "Number of steps at the start in which SwAV's prototypes stay fixed."
    )

    def check(self) -> None:
        """Validates the group."""
        require(0 <= self.simclr_class_prior < 1, "simclr_class_prior", "in [0, 1)", self.simclr_class_prior)
        weight = self.barlow_twins_redundancy_weight
        require(weight >= 0, "barlow_twins_redundancy_weight", "0 or more", weight)
        require(self.swav_prototypes >= 2, "swav_prototypes", "2 or more", self.swav_prototypes)
        require(self.swav_epsilon > 0, "swav_epsilon", "positive", self.swav_epsilon)
        require(self.swav_frozen_steps >= 0, "swav_frozen_steps", "0 or more", self.swav_frozen_steps)

    @staticmethod
    def own_names(method: str) -> list[str]:
        """Returns the names of the settings that belong to a method."""
        return [field.name for field in dataclasses.fields(FamilySettings) if field.name.startswith(f"{method}_")]

    def require_own(self, method: str) -> None:
        """Requires the defaults of all settings that belong to other methods."""
        own = self.own_names(method)
        for field in dataclasses.fields(FamilySettings):
            value = getattr(self, field.name)
            fits = field.name in own or value == field.default
            require(fits, field.name, f"{field.default} with --method={method}", value)
