"""Training for a number of steps, measured against the grammar, with checkpoints to resume from."""

import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.files import write_whole, writing_in
from lens_steer.organism.exact_judge import log_probability
from lens_steer.organism.genres import language, words
from lens_steer.organism.machine import draw
from lens_steer.organism.patterns import text_of
from lens_steer.organism.recipe import Recipe, batch_of, batches, new_model, token_rows
from lens_steer.organism.tokenizer import save_tokenizer


def loss_of(model: Any, tokens: Int[Tensor, "text token"]) -> Float[Tensor, ""]:
    """The loss of a batch in nats per token, without padding."""
    logits = model(tokens[:, :-1]).logits
    targets = tokens[:, 1:]
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=0
    )


@dataclass(frozen=True)
class HeldOut:
    """Held-out texts to measure the loss on, and the loss of the grammar itself.

    Attributes:
        rows: The tokens of each text.
        floor: Nats per token under the grammar; a model is below it only by chance.
    """

    rows: tuple[tuple[int, ...], ...]
    floor: float

    @classmethod
    def make(cls, n: int) -> "HeldOut":
        """Draw `n` texts from a stream that no training draws from."""
        source = random.Random("held-out texts")
        texts = [draw(language(), source) for _ in range(n)]
        total = sum(log_probability(text_of(text)) for text in texts)
        rows = tuple(tuple(row) for row in token_rows(texts))
        return cls(rows, -total / sum(len(row) - 1 for row in rows))

    @torch.no_grad()
    def loss(self, model: Any) -> float:
        """The loss of a model on these texts, in nats per token."""
        total, ordered = 0.0, sorted(self.rows, key=len)
        for start in range(0, len(ordered), 64):
            part = ordered[start : start + 64]
            count = sum(len(row) - 1 for row in part)
            total += loss_of(model, batch_of(part)).item() * count
        return total / sum(len(row) - 1 for row in ordered)


def train(recipe: Recipe, out: Path, *, every: int = 200, held_out: int = 512) -> Any:
    """Train, or resume from the checkpoint in `out`, and write the finished model there.

    Args:
        recipe: What to train.
        out: The folder for the log, the checkpoint and the model.
        every: How many steps there are between checkpoints.
        held_out: On how many texts the loss is measured.

    Returns:
        The trained model.

    Raises:
        ValueError: If `out` holds a checkpoint of another recipe or a damaged one, cannot be
            written to, or another process writes in it.
    """
    with writing_in(out):
        return _train(recipe, out, every, held_out)


def _train(recipe: Recipe, out: Path, every: int, held_out: int) -> Any:
    model = new_model(recipe)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=recipe.peak, betas=(0.9, 0.98), weight_decay=recipe.decay
    )
    first, lines = _resume(recipe, out, model, optimiser)
    measure, start = HeldOut.make(held_out), time.perf_counter()
    before = lines[-1]["seconds"] if lines else 0.0
    with tqdm(total=recipe.steps, initial=first, desc=f"train seed {recipe.seed}") as bar:
        for step, tokens in enumerate(batches(recipe, first), start=first):
            if step >= recipe.steps:
                break
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(step)
            loss = loss_of(model, tokens)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            bar.update()
            if (step + 1) % every == 0 or step + 1 == recipe.steps:
                seconds = before + time.perf_counter() - start
                line = {"step": step + 1, "loss": measure.loss(model), "floor": measure.floor}
                lines.append(line | {"train": loss.item(), "seconds": round(seconds, 1)})
                bar.set_postfix(loss=f"{line['loss']:.4f}", floor=f"{line['floor']:.4f}")
                _checkpoint(recipe, out, model, optimiser, step + 1, lines)
    write(recipe, out, model, lines)
    return model


def _resume(recipe: Recipe, out: Path, model: Any, optimiser: Any) -> tuple[int, list[Any]]:
    path = out / "checkpoint.pt"
    if not path.is_file():
        return 0, []
    try:
        kept = torch.load(path, weights_only=True)
        recipe_then, step, lines = kept["recipe"], kept["step"], kept["lines"]
    except Exception as error:  # a damaged file makes torch raise whatever it comes to
        raise ValueError(
            f"{path} is not a whole checkpoint: give another --out, or delete it"
        ) from error
    if recipe_then != asdict(recipe):
        raise ValueError(
            f"{path} is of another recipe, {recipe_then}: give another --out, or delete it"
        )
    model.load_state_dict(kept["model"])
    optimiser.load_state_dict(kept["optimiser"])
    return step, lines


def _checkpoint(
    recipe: Recipe, out: Path, model: Any, optimiser: Any, step: int, lines: list[Any]
) -> None:
    kept = {"recipe": asdict(recipe), "step": step, "lines": lines}
    kept |= {"model": model.state_dict(), "optimiser": optimiser.state_dict()}

    def write(place: Path) -> None:
        try:
            torch.save(kept, place)
        except RuntimeError as error:  # how torch says that the disk is full
            raise OSError(str(error).splitlines()[0]) from error

    write_whole(out / "checkpoint.pt", write)


def write(recipe: Recipe, out: Path, model: Any, lines: list[Any]) -> None:
    """Write the model in the Hugging Face format, with its recipe and its log."""
    model.save_pretrained(out / "weights")
    save_tokenizer(words(), recipe.context, out / "weights")
    report = {"recipe": asdict(recipe), "torch": torch.__version__, "log": lines}
    (out / "weights" / "training.json").write_text(json.dumps(report, indent=1) + "\n")
