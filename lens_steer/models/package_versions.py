"""Versions of the packages at work, looked up without importing them."""

import platform
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# TransformerLens 4 removed HookedTransformer.
HAS_HOOKED_TRANSFORMER = int(version("transformer-lens").split(".")[0]) < 4
_CHECKOUT = Path(__file__).parents[2] / "pyproject.toml"
_REPORTED = [
    "torch",
    "transformers",
    "transformer-lens",
    "jaxtyping",
    "numpy",
    "scikit-learn",
    "safetensors",
    "pandas",
]


def version_of(package: str) -> str:
    """The version of an installed package, `unknown` where its metadata is missing.

    That of lens-steer itself is read from the checkout it runs from, where it runs from one.
    """
    if package == "lens-steer":
        checkout = _version_of_checkout(_CHECKOUT)
        if checkout is not None:
            return checkout
    try:
        return str(version(package))
    except PackageNotFoundError:
        return "unknown"


def _version_of_checkout(path: Path) -> str | None:
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):  # no checkout, or one that is being edited
        return None
    return str(project["version"]) if project.get("name") == "lens-steer" else None


@dataclass(frozen=True)
class Versions:
    """Versions and devices, as a bug report begins with them; print it.

    Attributes:
        packages: Versions by name, lens-steer's and Python's first; `unknown` where a package's
            metadata is missing.
        platform: The operating system and processor.
        device: The device that `load_model` takes by default, then the others on this machine.
    """

    packages: tuple[tuple[str, str], ...]
    platform: str
    device: str

    def __str__(self) -> str:
        rows = (*self.packages, ("platform", self.platform), ("device", self.device))
        return "\n".join(f"{name:17} {value}" for name, value in rows)


def versions() -> Versions:
    """Versions of lens_steer, of Python and of what it builds on, the platform and the devices.

    Example:
        >>> print(ls.versions())
    """
    python = ("python", sys.version.split()[0])
    packages = (("lens-steer", version_of("lens-steer")), python)
    packages += tuple((name, version_of(name)) for name in _REPORTED)
    return Versions(packages, platform.platform(), _devices())


def _devices() -> str:
    import torch

    devices = [
        f"cuda:{i} ({torch.cuda.get_device_name(i)}, CUDA {torch.version.cuda})"
        for i in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return ", ".join([*devices, "cpu"])
