"""Old names: what version 0.1 called differently, or kept in another room, can still be imported.

A name that only moved is found at its old place without a word; a name that changed is found with a
DeprecationWarning that says the new one. `docs/renamed.md` shows the same tables.
"""

import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any

# Rooms that are elsewhere now: old -> new.
ROOMS: dict[str, str] = {
    "elements": "attribution",
    "features": "linearity",
    "field": "barriers.field",
    "flows": "barriers.flows",
    "jacobians": "linearity",
    "pairs": "data",
    "provenance": "models",
    "separability": "activations",
}

# Names that are in another room now, under the same name: the room where they were ("" is
# `lens_steer` itself) -> name -> the room where they are.
MOVED: dict[str, dict[str, str]] = {
    "": {
        "Additive": "steering",
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
        "Versions": "models",
        "head_accuracies": "steering",
        "masked": "attribution",
        "prompt_means": "steering",
        "pullback_fisher": "linearity",
    },
    "benchmark": {
        "random_like": "evaluation",
    },
    "evaluation": {
        "Comparison": "benchmark",
        "CostTails": "benchmark",
        "DoseResponse": "benchmark",
        "EnergyMap": "benchmark",
        "FixedCosts": "benchmark",
        "Frontier": "benchmark",
        "Interval": "intervals",
        "ManifoldReport": "diagnostics",
        "ReadSteerReport": "diagnostics",
        "Specificity": "benchmark",
        "SteerabilityReport": "diagnostics",
        "Trial": "benchmark",
        "best_of_n": "benchmark",
        "compare": "benchmark",
        "comparison": "benchmark",
        "holm": "benchmark",
        "interval": "intervals",
        "learn": "benchmark",
        "prompted": "benchmark",
        "ratio_interval": "intervals",
        "sign_flip": "benchmark",
    },
}

# Names that changed: (room, old name) -> (room, new name).
RENAMED: dict[tuple[str, str], tuple[str, str]] = {
    ("", "Features"): ("linearity", "FeatureDirections"),
    ("", "Terms"): ("benchmark", "ComparisonConfig"),
    ("", "readings"): ("activations", "show_read_positions"),
    ("activations", "Reading"): ("activations", "ReadPreview"),
    ("activations", "readings"): ("activations", "show_read_positions"),
    ("attribution", "contrast_written"): ("attribution", "contrast_in_resid"),
    ("attribution", "effects"): ("attribution", "zero_ablation"),
    ("attribution", "patching"): ("attribution", "attribution_patching"),
    ("attribution", "scaling"): ("attribution", "grad_x_activation"),
    ("barriers.field", "CalibrationReport"): ("barriers.field", "BarrierCalibration"),
    ("barriers.field", "Reading"): ("barriers.field", "DirectionTokens"),
    ("barriers.field", "Sample"): ("barriers.field", "HeldOutRows"),
    ("barriers.flows", "carried"): ("barriers.flows", "move_in_frame"),
    ("barriers.flows", "Flowed"): ("barriers.flows", "FlowEnd"),
    ("barriers.flows", "Sought"): ("barriers.flows", "TargetReached"),
    ("data", "rows_of"): ("data", "as_records"),
    ("evaluation", "Contest"): ("benchmark", "ComparisonRun"),
    ("evaluation", "Paths"): ("evaluation", "TextCosts"),
    ("evaluation", "Search"): ("benchmark", "RandomSearchCurve"),
    ("evaluation", "Terms"): ("benchmark", "ComparisonConfig"),
    ("evaluation", "paces"): ("benchmark", "time_generation"),
    ("evaluation", "share_of_form"): ("evaluation", "well_formed_rate"),
    ("evaluation", "written"): ("evaluation", "as_sampled_texts"),
    ("intervals", "NONE"): ("intervals", "NAN_INTERVAL"),
    ("intervals", "band"): ("intervals", "plot_band"),
    ("intervals", "by_group"): ("intervals", "group_sums"),
    ("intervals", "of_share"): ("intervals", "proportion_interval"),
    ("intervals", "over_texts"): ("intervals", "nanmean_interval"),
    ("linearity", "Features"): ("linearity", "FeatureDirections"),
    ("models", "Recomputer"): ("models", "UncachedDecoder"),
    ("models", "Replay"): ("models", "FrozenContextBlocks"),
    ("models", "Resumed"): ("models", "SharedPrefixDecoder"),
    ("steering.base", "Draws"): ("steering.base", "DecodeStep"),
    ("tracking", "Band"): ("tracking", "PredictionBand"),
    ("tracking", "Loop"): ("tracking", "LinearLoop"),
}

# Names that the package has no longer: (room, name) -> what there is instead.
REMOVED: dict[tuple[str, str], str] = {
    ("attribution", "LabelBalance"): "AgreementReport.by_label compares labels, and holds balanced",
    ("evaluation", "DivergenceReport"): "the repository has it as analyses.divergence",
    ("evaluation", "PathSplitReport"): "the repository has it as analyses.paths",
    ("evaluation", "search_figure"): "RandomSearchCurve.figure draws it",
    ("barriers.field", "ConvergenceReport"): "it is in analyses.barrier_field_instruments",
    ("barriers.field", "CrowdingReport"): "it is in analyses.barrier_field_instruments",
    (
        "barriers.field",
        "StabilityReport",
    ): "FieldStability of analyses.barrier_field_instruments",
    ("barriers.field", "TurningReport"): "it is in analyses.barrier_field_instruments",
    ("tracking", "contraction"): "the norm of a loop promises nothing: see analyses/results/lqr",
}


def path_of(room: str) -> str:
    """The module that a room is: `lens_steer.models` of `models`, `lens_steer` of an empty name."""
    return f"lens_steer.{room}" if room else "lens_steer"


def attribute(room: str, name: str) -> Any:
    """What an old name of a room names today, with a warning if the name has changed.

    Args:
        room: The room, such as `evaluation`; empty or `lens_steer` for the package itself.
        name: The old name.

    Raises:
        AttributeError: If the room never had that name, or the package has it no longer.

    Example:
        >>> attribute("attribution", "effects")  # warns that it is now called zero_ablation
        <function zero_ablation at ...>
    """
    room = "" if room == "lens_steer" else room
    if not room and name in ROOMS:
        return import_module(path_of(ROOMS[name]))
    if name in MOVED.get(room, {}):
        return getattr(import_module(path_of(MOVED[room][name])), name)
    if (room, name) in RENAMED:
        target, new = RENAMED[room, name]
        place = "lens_steer" if new in vars(import_module("lens_steer")) else path_of(target)
        message = f"{name} is now called {place}.{new}; the old name goes with version 0.3"
        warnings.warn(message, DeprecationWarning, stacklevel=3)
        return getattr(import_module(path_of(target)), new)
    instead = REMOVED.get((room, name))
    reason = "" if instead is None else f": {instead}"
    raise AttributeError(f"module {path_of(room)!r} has no attribute {name!r}{reason}")


class _OldNames:
    """The `__getattr__` of a room: Python calls it for a name that the room does not have."""

    def __init__(self, room: str) -> None:
        self._room = room

    def __call__(self, name: str) -> Any:
        return attribute(self._room, name)


def _install() -> None:
    """Let rooms answer to old names, and old paths of rooms lead to the rooms.

    It is done here and not in the rooms, so that type checkers still report a wrong name.
    """
    for old, new in ROOMS.items():
        sys.modules.setdefault(path_of(old), import_module(path_of(new)))
    for room in {*MOVED, *(room for room, _ in (*RENAMED, *REMOVED))} - {""}:
        module: ModuleType = import_module(path_of(room))
        vars(module)["__getattr__"] = _OldNames(room)


_install()
