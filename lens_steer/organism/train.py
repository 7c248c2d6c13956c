"""Train the embedded model: `python -m lens_steer.organism.train --seed 0 --out out/organism`."""

import argparse
from pathlib import Path

from lens_steer.organism.recipe import Recipe
from lens_steer.organism.training import train


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(
        prog="python -m lens_steer.organism.train",
        description="Train the embedded model on texts drawn from its grammar. Writes to OUT: "
        "weights/ (the Hugging Face format, with training.json: recipe, log, loss floor) and "
        "checkpoint.pt. Run again with the same OUT to go on after an interruption.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument("--seed", type=int, required=True, help="of the weights and the texts")
    options.add_argument("--out", type=Path, default=Path("out/organism"), help="folder")
    options.add_argument("--steps", type=int, default=Recipe.steps, help="of the optimiser")
    options.add_argument("--texts", type=int, default=Recipe.texts, help="of a batch")
    options.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    command = parser()
    options = command.parse_args(arguments)
    try:
        recipe = Recipe(options.seed, steps=options.steps, texts=options.texts)
        if options.every < 1:
            raise ValueError(f"every {options.every}: expected at least 1")
        train(recipe, options.out, every=options.every)
    except (ValueError, OSError) as error:
        command.error(str(error))


if __name__ == "__main__":
    main()
