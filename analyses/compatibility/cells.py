"""A cell of the matrix, measured in a process of its own that may crash or hang."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from traceback import walk_tb
from typing import Any

import torch

from analyses.compatibility.architectures import ARCHITECTURES
from analyses.compatibility.checks import CHECKS, Loaded, NoStandardError, WrongError, standard
from analyses.compatibility.plain_models import PlainModel
from analyses.compatibility.tiny_models import write_model

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Result = float | str  # the size of an error, or what happened in place of one
_LOADS, _LONGEST = "loads", 400
_OURS = os.path.join("lens_steer", "")


@dataclass(frozen=True, order=True)
class Cell:
    """One cell: a tiny model of an architecture, loaded in one way.

    Attributes:
        architecture: A name of `ARCHITECTURES`.
        backend: `bridge` or `hooked`.
        dtype: A name of `DTYPES`.
    """

    architecture: str
    backend: str
    dtype: str


def measured(cell: Cell, *, seed: int, limit: float, context: Any = None) -> dict[str, Result]:
    """Run all checks of a cell in a new process.

    Args:
        cell: The cell.
        seed: Of weights and tokens.
        limit: Seconds that the process has.
        context: How processes start, of multiprocessing; None: as `start_server` says.

    Returns:
        By check, `loads` first: the size of an error (0.0 where there is none to measure), or text
        that begins with `wrong`, `refused`, `raised`, `no standard`, `crash` or `timeout`. Checks
        that were not reached, because the model was not loaded or the process ended, are missing.
    """
    context = context or _context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(cell, seed, sender), daemon=True)
    process.start()
    sender.close()
    results: dict[str, Result] = {}
    running = _LOADS
    try:
        for name, result in _received(receiver, limit):
            if result is None:
                running = name
            else:
                results[name] = result
        process.join(limit)
        if process.exitcode:
            results[running] = f"crash: the process ended with exit code {process.exitcode}"
    except TimeoutError:
        process.kill()
        process.join()
        results[running] = f"timeout: not done after {limit:g} s"
    return results


def start_server() -> None:
    """Import the libraries once for all processes, where the system has a server to fork from."""
    process = _context().Process(target=int)
    process.start()
    process.join()


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "transformer_lens.model_bridge"])
    return context


def _received(receiver: Connection, limit: float) -> Iterator[tuple[str, Result | None]]:
    """What the process sends, until it ends or the time is over."""
    end = monotonic() + limit
    while True:
        if not receiver.poll(max(0.0, end - monotonic())):
            raise TimeoutError
        try:
            yield receiver.recv()
        except EOFError:
            return


def _run(cell: Cell, seed: int, sender: Connection) -> None:
    """Measure a cell, sending the name of each check before it, and its result after it."""
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # TransformerLens prints when it loads
        os.dup2(silent, stream)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="tiny-") as place:
        for name, result in results_of(cell, seed, Path(place) / "m"):
            sender.send((name, result))


def results_of(cell: Cell, seed: int, folder: Path) -> Iterator[tuple[str, Result | None]]:
    """Measure a cell in this process: the name of each check before it, its result after it.

    Args:
        cell: The cell.
        seed: Of weights and tokens.
        folder: Where the tiny model is written.
    """
    from transformers import AutoTokenizer

    import lens_steer as ls

    architecture, dtype = ARCHITECTURES[cell.architecture], DTYPES[cell.dtype]
    write_model(architecture, folder, seed=seed, dtype=dtype)
    both: list[Loaded] = []

    def load() -> float:
        backend: Any = cell.backend
        plain = standard(lambda: PlainModel.load(folder, architecture.task, dtype))
        model = ls.load_model(folder, backend=backend, device="cpu", dtype=dtype)
        both.append(Loaded.of(model, plain, AutoTokenizer.from_pretrained(folder), seed))
        return 0.0

    yield _LOADS, None
    yield _LOADS, outcome(load, folder)
    if not both:
        return
    for name, check in CHECKS.items():
        yield name, None
        yield name, outcome(lambda check=check: check(both[0]), folder)


def outcome(check: Callable[[], float], folder: Path) -> Result:
    """What a check comes to; whatever it raises, as text.

    Args:
        check: Gives the size of an error.
        folder: Of the model, which is left out of messages.
    """
    try:
        return float(f"{check():.1e}")
    except WrongError as error:
        said = f"wrong: {error}"
    except NoStandardError as error:
        said = f"no standard: {error}"
    except Exception as error:
        refused = isinstance(error, ValueError) and _raised_by_us(error)
        said = f"refused: {error}" if refused else f"raised: {type(error).__name__}: {error}"
    return " ".join(said.replace(str(folder), "MODEL").split())[:_LONGEST]


def _raised_by_us(error: Exception) -> bool:
    """Whether an error was raised in lens_steer's own code, and not in a library under it."""
    files = [frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__)]
    return bool(files) and f"{os.sep}{_OURS}" in files[-1]
