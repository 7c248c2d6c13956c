"""Calibrate every method to one cost on every behaviour of the embedded model, for the package.

Of each method's grid, every setting is calibrated to 0.1 nats per token on dev, and the one that
shows most of the behaviour there is kept. Writes calibrated.json, from which the demo takes its
settings; those of other methods that are in the file already stay. A method and behaviour take from
seconds (vectors) to minutes (flows).

    python -m analyses.calibrated --out lens_steer/benchmark
    python -m analyses.calibrated --out lens_steer/benchmark --methods LQR,ODESteer
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

import lens_steer as ls
from analyses.equal_cost import DEV
from analyses.studies import Out, Pairs, Seed, names_of, start
from lens_steer import organism
from lens_steer.benchmark import (
    KL,
    SHARES,
    ComparisonConfig,
    FitCache,
    calibrated_best,
    families,
)
from lens_steer.cli import Methods
from lens_steer.files import json_file, write_whole, writing_in


def settings_of(
    model: ls.SteerableModel, pairs: str, config: ComparisonConfig, methods: str | None
) -> dict[str, Any]:
    """The setting of each of these methods that shows most of the behaviour on dev at one cost."""
    train, dev, _ = ls.ContrastivePairs.load(pairs).split(*SHARES, seed=config.seed)
    judge, cache = organism.judge(pairs.partition(":")[2]), FitCache(model, train)
    return {
        family.name: calibrated_best(family, cache, dev.first(DEV), judge, kl=KL, config=config)
        for family in families(methods)
    }


def saved_settings(path: Path, config: ComparisonConfig) -> dict[str, Any]:
    """The settings in a file that an earlier run wrote; none if there is no file.

    Raises:
        ValueError: If it was made on other terms.
    """
    if not path.is_file():
        return {}
    saved = json_file(path)
    if not isinstance(saved, dict) or "settings" not in saved:
        raise ValueError(f"{path} holds something else: write to another folder")
    if (saved.get("kl"), ls.Decoding(**saved.get("terms", {}))) != (KL, config.decoding):
        raise ValueError(
            f"{path} was made on other terms: write to another folder, with all methods"
        )
    return saved["settings"]


def main(
    methods: Methods = None,
    pairs: Pairs = None,
    out: Out = Path("out/calibrated"),
    seed: Seed = 0,
) -> None:
    """Find settings and strengths of every method at the same nats per token, for the demo."""
    with writing_in(out):
        model = ls.load_model("organism")
        config = ComparisonConfig(seed=seed, temperature=0.7, max_new_tokens=organism.LONGEST)
        path, text = out / "calibrated.json", ""
        settings = saved_settings(path, config)
        for name in names_of(pairs):
            settings.setdefault(name, {}).update(settings_of(model, name, config, methods))
            content = {"kl": KL, "terms": asdict(config.decoding), "settings": settings}
            text = json.dumps(content, indent=2, sort_keys=True) + "\n"
            write_whole(path, lambda place, t=text: place.write_text(t, "utf-8"))
        typer.echo(text)


if __name__ == "__main__":
    start(main, __doc__)
