"""Calibrate every method to one cost on every behaviour of the embedded model, for the package.

python -m analyses.calibrated --out lens_steer/benchmark/method_families
python -m analyses.calibrated --out lens_steer/benchmark/method_families --methods LQR,ODESteer
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import lens_steer as ls
from analyses.studies import names_of
from lens_steer import organism
from lens_steer.benchmark import KL, SHARES, ComparisonConfig, FitCache, calibrated_best, families
from lens_steer.cli import run_command
from lens_steer.files import json_file, write_whole, writing_in

DEV = 48  # prompts


def settings_of(
    model: ls.SteerableModel, name: str, terms: ComparisonConfig, methods: str | None
) -> dict[str, Any]:
    """The setting of each of these methods that does most on dev at that cost."""
    train, dev, _ = ls.ContrastivePairs.load(name).split(*SHARES, seed=terms.seed)
    judge, inputs = organism.judge(name.partition(":")[2]), FitCache(model, train)
    return {
        each.name: calibrated_best(each, inputs, dev.first(DEV), judge, kl=KL, terms=terms)
        for each in families(methods)
    }


def known(place: Path, terms: ComparisonConfig) -> dict[str, Any]:
    """What is in a file of the same terms; it stays, but for what is found anew.

    Raises:
        ValueError: If it was made on other terms.
    """
    if not place.is_file():
        return {}
    found = json_file(place)
    if not isinstance(found, dict) or "settings" not in found:
        raise ValueError(f"{place} is of something else: write to another folder")
    if (found.get("kl"), found.get("terms")) != (KL, terms.decoding):
        raise ValueError(f"{place} is of other terms: write to another folder, with all methods")
    return found["settings"]


def main(
    methods: Annotated[
        str | None, typer.Option(help="Names, with commas, or all; the others are kept.")
    ] = None,
    pairs: Annotated[str, typer.Option(help="Sets, with commas; empty: all organism:*.")] = "",
    out: Annotated[Path, typer.Option(help="Folder for calibrated.json.")] = Path("out/calibrated"),
    seed: Annotated[int, typer.Option(min=0, help="Of the split and the texts.")] = 0,
) -> None:
    """Settings and strengths of every method at the same nats per token, for the demo."""
    with writing_in(out):
        model = ls.load_model("organism")
        terms = ComparisonConfig(seed=seed, temperature=0.7, max_new_tokens=organism.LONGEST)
        names = names_of(pairs)
        settings, text = known(out / "calibrated.json", terms), ""
        for name in names:
            found = settings_of(model, name, terms, methods)
            settings[name] = settings.get(name, {}) | found
            whole = {"kl": KL, "terms": terms.decoding, "settings": settings}
            text = json.dumps(whole, indent=2, sort_keys=True) + "\n"
            write_whole(out / "calibrated.json", lambda place, t=text: place.write_text(t, "utf-8"))
        typer.echo(text)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run_command(lambda: app(standalone_mode=False))
