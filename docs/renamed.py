"""Write `docs/renamed.md` from the tables of `lens_steer.renamed`: `python docs/renamed.py`."""

from pathlib import Path

from lens_steer import renamed
from lens_steer.arguments import OneLineParser

PAGE = Path(__file__).parent / "renamed.md"
HEADER = """# Renamed

What names were before the rooms were redesigned (November 2026), and are now. Old names of the
package and of its rooms still work: a name that only moved works as it did, and one that changed
warns and says the new name. This page is written by `python docs/renamed.py` from
`lens_steer/renamed.py`, and a test holds the two together.
"""

# Members of classes, and parameters as `Class.method(parameter=)`: what was -> what is. Old ones
# are gone; `tests/test_renamed.py` checks that the new ones exist.
MEMBERS = {
    "Ablation.along": "Ablation.from_direction",
    "BlockMaps.vjp(at=)": "BlockMaps.vjp(hook=)",
    "Choice.best, an index": "Choice.best_index",
    "Choice.form_limit": "Choice.min_well_formed",
    "Comparison.terms": "Comparison.config",
    "ErrorCurves.at": "ErrorCurves.error_at",
    "ErrorCurves.measure": "ErrorCurves.fit",
    "Evaluation.paths": "Evaluation.text_costs",
    "FishBack.of_metric": "FishBack.from_metric",
    "GapReport.measure": "GapReport.of",
    "GridReport.measure": "GridReport.fit",
    "ITI.along_means": "ITI.fit",
    "ITI.along_probes": "ITI.fit(direction=)",
    "Intervention.active_edits": "Intervention.checked_edits",
    "Intervention.by_prompt": "Intervention.per_prompt",
    "Intervention.furthest": "Intervention.max_useful_strength",
    "Intervention.of_rows": "Intervention.select_prompts",
    "Intervention.prompt_end_only": "Intervention.last_prompt_token_only",
    "LQR.fit_feature(on_manifold=)": "LQR.fit_feature(covariance_effort=)",
    "LayerJacobians.vjp(at=)": "LayerJacobians.vjp(hook=)",
    "LogitReport.measure": "LogitReport.fit",
    "ODESteer.arrived": "ODESteer.at_maximum",
    "ODESteer.of_length": "ODESteer.from_length",
    "PID.scalar_gain": "PID.fit_scalar_gain",
    "PersistenceReport.measure": "PersistenceReport.fit",
    "RiseReport.arrived": "RiseReport.at_maximum",
    "RiseReport.measure": "RiseReport.of",
    "SADI.official": "SADI.fit_published",
    "ShapeReport.measure": "ShapeReport.fit",
    "SliceMap.measure": "SliceMap.fit",
    "TrackingReport.of": "TrackingReport.of_class",
    "TrackingReport.push": "TrackingReport.mean_energy",
    "Trajectories.of": "Trajectories.fit",
    "Trial.found": "Trial.evaluation",
    "comparison(terms=)": "comparison(config=)",
}


def row(*cells: str) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |\n"


def code(room: str, name: str = "") -> str:
    """A room, or a name in it, as code."""
    return f"`{renamed.path_of(room)}{'.' if name else ''}{name}`"


def page() -> str:
    """The whole page."""
    rooms = [row(code(old), code(new)) for old, new in renamed.ROOMS.items()]
    moved = [
        row(code(room, name), code(now, name))
        for room, names in renamed.MOVED.items()
        for name, now in names.items()
    ]
    changed = [row(code(*old), code(*new)) for old, new in renamed.RENAMED.items()]
    members = [row(f"`{old}`", f"`{new}`") for old, new in MEMBERS.items()]
    removed = [row(code(*old), instead) for old, instead in renamed.REMOVED.items()]
    tables = (
        ("Rooms", "now", rooms),
        ("Names that moved", "now", moved),
        ("Names that changed", "now", changed),
        ("Members and parameters that changed", "now", members),
        ("Names that are gone", "instead", removed),
    )
    parts = [HEADER]
    for title, heading, rows in tables:
        parts.append(f"\n## {title}\n\n{row('before', heading)}{row('---', '---')}")
        parts += rows
    return "".join(parts)


if __name__ == "__main__":
    OneLineParser(description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
