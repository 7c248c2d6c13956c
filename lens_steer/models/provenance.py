"""Where a fitted object comes from: the model, the data and the versions it was made with."""

from dataclasses import dataclass, field

from lens_steer.models.attachment import attach, last_seen
from lens_steer.models.fingerprint import Fingerprint
from lens_steer.models.open_steering import open_blocks
from lens_steer.models.package_versions import version_of
from lens_steer.models.protocol import SteerableModel

_PACKAGES = ("lens-steer", "transformer-lens", "torch", "transformers")
# What was imported, and not what is installed by the time that a long run ends.
_VERSIONS = {package: version_of(package) for package in sorted(_PACKAGES)}


def versions() -> dict[str, str]:
    """Of the packages that results depend on, as they were when lens_steer was imported."""
    return dict(_VERSIONS)


@dataclass(frozen=True)
class Provenance:
    """The model something was read from, and how.

    Attributes:
        fingerprint: Of the model.
        data: Name of the pairs.
        read: The read position, as text.
        seed: Of whatever was drawn, or None where nothing was.
        versions: Of the packages at that time.
    """

    fingerprint: Fingerprint
    data: str
    read: str
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=versions)

    def check(self, model: SteerableModel) -> None:
        """Raise a ValueError that names what differs, if this is not the model that was read.

        A steered block looked at the model when it was opened; within one, methods are checked at
        every token, and that look is taken.
        """
        seen = last_seen(model) if open_blocks(model) else attach(model)
        differences = self.fingerprint.differences(seen.fingerprint)
        if differences:
            raise ValueError(
                f"made on another model ({'; '.join(differences)}, made on against this one): fit "
                "it on this model, or, if a method's transfer is meant, drop its record with "
                ".without_provenance()"
            )


def check_one_model(ours: Provenance | None, theirs: Provenance | None, what: str) -> None:
    """Raise a ValueError that begins with `what` if two records are of two models."""
    if ours is not None and theirs is not None:
        differences = ours.fingerprint.differences(theirs.fingerprint)
        if differences:
            raise ValueError(f"{what} ({'; '.join(differences)})")
