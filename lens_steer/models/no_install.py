"""No load starts a process: TransformerLens would install what a checkpoint lacks, over your torch.

Text-and-image checkpoints need torchvision. Where it is missing, TransformerLens 3.9 and 4.3 run
`pip install torchvision`, which may replace torch itself by another build. So what a checkpoint
needs is looked at first (`check_requirements`), and no child process can be started while one is
being loaded (`no_processes`), whoever asks for it.
"""

import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from lens_steer.models.refused import ModelRefused

_STARTS = {
    *("subprocess.Popen", "os.system", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn"),
    *("os.exec", "os.fork", "os.forkpty"),
}
# The commands refused so far in the load that this thread (or task) is in; None outside of one.
_refused: ContextVar[list[str] | None] = ContextVar("_refused", default=None)


class ProcessRefusedError(io.UnsupportedOperation):
    """A load asked for a child process.

    It is a ValueError and an OSError: code that only asks `uname`, and manages without, goes on.
    """


@contextmanager
def no_processes() -> Iterator[list[str]]:
    """In this thread (or task), and until the block ends, starting a child process is an error.

    Python's audit hook sees a start by `subprocess` and `os` and looks at a context variable, so
    that other threads are left alone; also those that a load starts itself, and what starts
    processes past both modules (`multiprocessing` by `spawn`), neither of which TransformerLens
    does.

    Yields:
        The commands that were refused, also those whose error was caught on the way.

    Raises:
        ValueError: At the start of a process, naming its command.
    """
    _listen()
    commands: list[str] = []
    token = _refused.set(commands)
    try:
        yield commands
    finally:
        _refused.reset(token)


def check_no_install(name: str, commands: list[str]) -> None:
    """Refuse a load that asked for something to be installed, and went on when it was refused.

    Raises:
        ValueError: If one of the commands installs something.
    """
    installs = [command for command in commands if "install" in command.split()]
    if installs:
        raise ModelRefused(
            f"loading {name} asked for {installs[0]!r}, and no load may install anything: install "
            "what it needs yourself, for the torch that you have"
        )


@cache
def _listen() -> None:
    sys.addaudithook(_refuse_in_a_load)  # once in a process: it cannot be taken away again


def _refuse_in_a_load(event: str, args: tuple[Any, ...]) -> None:
    if event not in _STARTS:
        return
    refused = _refused.get()
    if refused is None:
        return
    command = _command(event, args)
    refused.append(command)
    raise ProcessRefusedError(
        f"a model is being loaded, and no load may start a process: {command!r} was asked for; "
        "install what the checkpoint needs yourself"
    )


def _command(event: str, args: tuple[Any, ...]) -> str:
    """As a user would type it; the first argument of subprocess.Popen repeats the program."""
    for given in args[1:] if event == "subprocess.Popen" else args:
        if isinstance(given, (str, bytes)):
            return os.fsdecode(given)
        if isinstance(given, (list, tuple)):
            return " ".join(map(str, given))
    return " ".join([event, *(str(given) for given in args[:1])])


def check_requirements(name: str) -> None:
    """Refuse a checkpoint of text and images whose packages are not installed.

    Args:
        name: A local directory, or a hub name.

    Raises:
        ValueError: If TransformerLens would install torchvision for it.
    """
    from transformers import AutoConfig

    if importlib.util.find_spec("torchvision") is not None:
        return
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError, KeyError):  # an alias of TransformerLens', or no model at all
        return
    if _takes_images(config) and not _has_processor(name):
        raise ModelRefused(
            f"{name} takes images as well as text, which needs torchvision, and TransformerLens "
            "would install that over your torch: install it yourself, in the version that goes "
            f"with torch {_torch()} (pip install torchvision), or load a checkpoint of text alone"
        )


def _takes_images(config: Any) -> bool:
    from transformer_lens.utilities.architectures import MULTIMODAL_ARCHITECTURES

    named = set(config.architectures or ())
    return bool(named & MULTIMODAL_ARCHITECTURES) or hasattr(config, "vision_config")


def _has_processor(name: str) -> bool:
    """Whether images can be prepared as it is: TransformerLens then installs nothing."""
    from transformers import AutoProcessor

    try:
        AutoProcessor.from_pretrained(name)
    except Exception:  # noqa: BLE001 - whatever it is, TransformerLens takes it for a lack
        return False
    return True


def _torch() -> str:
    from importlib.metadata import version

    return version("torch")
