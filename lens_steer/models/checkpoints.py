"""What is checked of a checkpoint before it is loaded: it is whole, and loading installs nothing.

Hugging Face draws missing weights at random and goes on (`check_complete`).

Checkpoints of text and images need torchvision. Where it is missing, TransformerLens 3.9 and 4.3
run `pip install torchvision`, which may replace torch itself by another build. So what a checkpoint
needs is checked first (`check_requirements`), and no child process can be started while one is
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
from importlib.metadata import version
from typing import Any

from lens_steer.models.protocol import ModelRefused

_PROCESS_STARTS = frozenset(
    [
        "subprocess.Popen",
        "os.system",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
        "pty.spawn",
        "os.exec",
        "os.fork",
        "os.forkpty",
    ]
)
_MOST_LAYERS = 10_000  # no model has as many; a damaged number is found before they are made
# The commands refused so far in the load that this thread (or task) is in; None outside of one.
_refused: ContextVar[list[str] | None] = ContextVar("_refused", default=None)


class ProcessRefusedError(io.UnsupportedOperation):
    """Code that loads a model asked for a child process.

    It is a ValueError and an OSError: code that only asks `uname`, and manages without, goes on.
    """


def check_complete(name: str) -> None:
    """Check that no weight is missing, which Hugging Face would draw at random.

    Only the headers of the files are read, in about 0.1 s.

    Args:
        name: A local directory or a hub name.

    Raises:
        ModelRefused: If a weight of the model is in none of the files, or has another shape there.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    try:
        config = AutoConfig.from_pretrained(name)
    except OSError:  # an alias of TransformerLens, or no model at all: its loader says so
        return
    kind, layers = type(config), getattr(config, "num_hidden_layers", None)
    if isinstance(layers, int) and layers > _MOST_LAYERS:  # they would be made one by one
        raise ModelRefused(
            f"cannot load {name!r}: its config.json says {layers} layers, expected at most "
            f"{_MOST_LAYERS}: download it again"
        )
    classes: list[Any] = [AutoModelForCausalLM, AutoModelForImageTextToText]
    auto_class = next((c for c in classes if kind in c._model_mapping), classes[0])
    _, report = auto_class.from_pretrained(
        name, device_map="meta", output_loading_info=True, ignore_mismatched_sizes=True
    )
    faults = [
        *(f"{key} is missing" for key in sorted(report["missing_keys"])),
        *(f"{key} has another shape" for key, *_ in sorted(report["mismatched_keys"])),
    ]
    if faults:
        raise ModelRefused(
            f"cannot load {name!r}: its files do not hold {len(faults)} of the model's weights "
            f"({faults[0]}), which would be random numbers: download it again, or check its "
            "config.json"
        )


def check_decoder(name: str) -> None:
    """Check that a checkpoint is no encoder-decoder: its decoder cannot be run on a text alone.

    Args:
        name: A local directory or a hub name.

    Raises:
        ModelRefused: If it is one (T5, BART and the like).
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError, KeyError):  # an alias of TransformerLens, or no model at all
        return
    if getattr(config, "is_encoder_decoder", False):
        raise ModelRefused(
            f"cannot load {name!r}: {type(config).__name__.removesuffix('Config')} is an "
            "encoder-decoder, whose decoder reads what an encoder made of another text: load a "
            "model that has a decoder alone, such as GPT-2 or Llama"
        )


def check_requirements(name: str) -> None:
    """Check that the packages which a checkpoint of text and images needs are installed.

    Args:
        name: A local directory or a hub name.

    Raises:
        ModelRefused: If TransformerLens would install torchvision for it.
    """
    from transformers import AutoConfig

    if importlib.util.find_spec("torchvision") is not None:
        return
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError, KeyError):  # an alias of TransformerLens, or no model at all
        return
    if _takes_images(config) and not _has_processor(name):
        raise ModelRefused(
            f"{name} takes images as well as text, which needs torchvision, and TransformerLens "
            "would install that over your torch: install it yourself, in the version that goes "
            f"with torch {version('torch')} (pip install torchvision), or load a checkpoint of "
            "text alone"
        )


@contextmanager
def no_processes() -> Iterator[list[str]]:
    """Make it an error to start a child process, in this thread or task until the block ends.

    An audit hook of Python sees what `subprocess` and `os` start and asks a context variable, so
    that other threads are left alone. It does not see what threads do that a load starts itself,
    nor processes that are started without these modules (`multiprocessing` by `spawn`);
    TransformerLens does neither.

    Yields:
        The commands that were refused so far, also those whose error was caught on the way.

    Raises:
        ProcessRefusedError: Where a process is started, naming its command.
    """
    _install_audit_hook()
    commands: list[str] = []
    token = _refused.set(commands)
    try:
        yield commands
    finally:
        _refused.reset(token)


def check_no_install(name: str, commands: list[str]) -> None:
    """Refuse a load that asked for something to be installed, and went on when it was refused.

    Args:
        name: What was loaded.
        commands: What `no_processes` refused meanwhile.

    Raises:
        ModelRefused: If one of the commands installs something.
    """
    installs = [command for command in commands if "install" in command.split()]
    if installs:
        raise ModelRefused(
            f"loading {name} asked for {installs[0]!r}, and no load may install anything: install "
            "what it needs yourself, for the torch that you have"
        )


@cache  # once in a process: an audit hook cannot be removed
def _install_audit_hook() -> None:
    sys.addaudithook(_refuse_process)


def _refuse_process(event: str, args: tuple[Any, ...]) -> None:
    if event not in _PROCESS_STARTS:
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
    """The command as a user would type it; subprocess.Popen names the program twice."""
    for argument in args[1:] if event == "subprocess.Popen" else args:
        if isinstance(argument, (str, bytes)):
            return os.fsdecode(argument)
        if isinstance(argument, (list, tuple)):
            return " ".join(map(str, argument))
    return " ".join([event, *(str(argument) for argument in args[:1])])


def _takes_images(config: Any) -> bool:
    from transformer_lens.utilities.architectures import MULTIMODAL_ARCHITECTURES

    named = set(config.architectures or ())
    return bool(named & MULTIMODAL_ARCHITECTURES) or hasattr(config, "vision_config")


def _has_processor(name: str) -> bool:
    """Whether images can be prepared with what is installed: TransformerLens then adds nothing."""
    from transformers import AutoProcessor

    try:
        AutoProcessor.from_pretrained(name)
    except Exception:
        return False
    return True
