"""Where a fitted object comes from: the model, the data and the versions it was made with."""

from dataclasses import dataclass, field

from lens_steer.arguments import Seed
from lens_steer.models.attachment import attach, last_seen
from lens_steer.models.fingerprint import Fingerprint
from lens_steer.models.package_versions import version_of
from lens_steer.models.protocol import SteerableModel
from lens_steer.models.steered_blocks import open_blocks
from lens_steer.reports import short_repr

# The versions that were imported: others may be installed by the time that a long run ends.
_VERSIONS = {
    package: version_of(package)
    for package in ("lens-steer", "torch", "transformer-lens", "transformers")
}


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on, as lens_steer was imported with them."""
    return dict(_VERSIONS)


@dataclass(frozen=True)
class Provenance:
    """The model something was read from, and how.

    Attributes:
        fingerprint: The fingerprint of the model.
        data: The name of the pairs.
        read: The read position, as text.
        seed: The seed of what was drawn; None where nothing was.
        versions: The versions of the packages at that time.
    """

    fingerprint: Fingerprint
    data: str
    read: str
    seed: Seed | None = None
    versions: dict[str, str] = field(default_factory=versions)

    __repr__ = short_repr

    def check(self, model: SteerableModel) -> None:
        """Check that a model is the one that was read.

        Within a steered block, where methods are checked at every token, the model's weights are
        not looked at again: that was done when the block was opened.

        Raises:
            ValueError: If it is another model, naming what differs.
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
    """Raise a ValueError that begins with `what` if two records are of different models."""
    if ours is not None and theirs is not None:
        differences = ours.fingerprint.differences(theirs.fingerprint)
        if differences:
            raise ValueError(f"{what} ({'; '.join(differences)})")
