"""Train the embedded model: `python -m lens_steer.organism.train --seed 0 --out out/organism`."""

import argparse
from pathlib import Path

from lens_steer.organism.recipe import Recipe
from lens_steer.organism.training import train


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    found = argparse.ArgumentParser(
        prog="python -m lens_steer.organism.train",
        description="Train the embedded model on texts drawn from its grammar. Writes to OUT: "
        "weights/ (the Hugging Face format, with training.json: recipe, log, loss floor) and "
        "checkpoint.pt. Run again with the same OUT to go on after an interruption.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    found.add_argument("--seed", type=int, required=True, help="of the weights and the texts")
    found.add_argument("--out", type=Path, default=Path("out/organism"), help="folder")
    found.add_argument("--steps", type=int, default=Recipe.steps, help="of the optimiser")
    found.add_argument("--texts", type=int, default=Recipe.texts, help="of a batch")
    found.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    command = parser()
    given = command.parse_args(arguments)
    try:
        recipe = Recipe(given.seed, steps=given.steps, texts=given.texts)
        if given.every < 1:
            raise ValueError(f"every {given.every}: expected at least 1")
        train(recipe, given.out, every=given.every)
    except (ValueError, OSError) as error:
        command.error(str(error))


if __name__ == "__main__":
    main()
