"""Train the embedded model: `python -m lens_steer.organism.train --seed 0 --out out/organism`."""

from pathlib import Path

from lens_steer.arguments import Count, FolderPath, OneLineParser, Seed
from lens_steer.files import check_folder
from lens_steer.organism.recipe import Recipe
from lens_steer.organism.training import train


def parser() -> OneLineParser:
    """The parser of the command line."""
    options = OneLineParser(
        prog="python -m lens_steer.organism.train",
        description="Train the embedded model on texts drawn from its grammar. Writes to OUT: "
        "weights/ (the Hugging Face format, with training.json: recipe, log, loss floor) and "
        "checkpoint.pt. Run again with the same OUT to go on after an interruption.",
    )
    options.add("--seed", Seed, required=True, help="of the weights and the texts")
    options.add("--out", FolderPath, check_folder, default=Path("out/organism"), help="folder")
    options.add("--steps", Count, default=Recipe.steps, help="of the optimiser")
    options.add("--texts", Count, default=Recipe.texts, help="of a batch")
    options.add("--every", Count, default=200, help="steps between checkpoints")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    command = parser()
    options = command.parse_args(arguments)
    try:
        recipe = Recipe(options.seed, steps=options.steps, texts=options.texts)
        train(recipe, options.out, every=options.every)
    except (ValueError, OSError) as error:
        command.error(str(error))


if __name__ == "__main__":
    main()
