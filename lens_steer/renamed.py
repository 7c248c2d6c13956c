"""Names of version 0.1 that have changed, and where what they name is now.

`docs/renamed.md` shows the same tables; a test holds the two together.
"""

import warnings
from importlib import import_module
from typing import Any

# Flat names that are now in their room, under the same name.
MOVED: dict[str, str] = {
    "BarrierCondition": "steering",
    "BarrierPush": "steering",
    "BlockMaps": "linearity",
    "ContrastStats": "activations",
    "CosineCondition": "steering",
    "Example": "data",
    "FourierBarrier": "barriers",
    "FrozenSADI": "steering",
    "GridReport": "steering",
    "JointBarrier": "barriers",
    "JointLQR": "steering",
    "Kind": "sites",
    "OnlineLQR": "steering",
    "PullbackFisher": "linearity",
    "ResidualITI": "steering",
    "SeparabilityReport": "activations",
    "SignedSADI": "steering",
    "Additive": "steering",
    "head_accuracies": "steering",
    "masked": "attribution",
    "prompt_means": "steering",
    "pullback_fisher": "linearity",
}

# Names that have changed: room, old name -> room, new name.
RENAMED: dict[tuple[str, str], tuple[str, str]] = {
    ("lens_steer", "Features"): ("linearity", "FeatureDirections"),
    ("lens_steer", "Terms"): ("benchmark", "ComparisonConfig"),
    ("lens_steer", "readings"): ("activations", "show_read_positions"),
    ("attribution", "contrast_written"): ("attribution", "contrast_in_resid"),
    ("attribution", "effects"): ("attribution", "zero_ablation"),
    ("attribution", "patching"): ("attribution", "attribution_patching"),
    ("attribution", "scaling"): ("attribution", "grad_x_activation"),
}


def attribute(room: str, name: str) -> Any:
    """What an old name of a room names today: a moved name as it is, a changed one with a warning.

    Raises:
        AttributeError: If the room never had that name.
    """
    if room == "lens_steer" and name in MOVED:
        return getattr(import_module(f"lens_steer.{MOVED[name]}"), name)
    if (room, name) in RENAMED:
        target, new = RENAMED[room, name]
        where = (
            "lens_steer" if hasattr(import_module("lens_steer"), new) else f"lens_steer.{target}"
        )
        message = f"{name} is now called {where}.{new}; the old name goes with version 0.3"
        warnings.warn(message, DeprecationWarning, stacklevel=3)
        return getattr(import_module(f"lens_steer.{target}"), new)
    full = room if room == "lens_steer" else f"lens_steer.{room}"
    raise AttributeError(f"module {full!r} has no attribute {name!r}")
