"""Wrong command lines, by rule from the options of every command, and some picked by hand."""

import importlib
import inspect
import io
import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from unittest.mock import patch

import torch

from lens_steer.cli import commands

ROOT = Path(__file__).parents[2]

# What a name stands for where the type says too little. {} is a folder with: `file`, a text;
# `empty`, a folder; `good.jsonl`, pairs; `broken.jsonl`, of which a line is no JSON.
_NUMBERS = ["-1", "1.5", "nan", "inf", "1e99"]
_PLACES = ["", "{}/file", "{}/file/inside", os.devnull]
_MODELS = ["", " ", "{}/file", "{}/empty", "{}/missing", "./missing"]
_SETS = ["", "x", "{}/empty", "{}/file", "{}/missing.jsonl", "{}/broken.jsonl", "organism:joy"]
_SETS += [",", "{}/good.jsonl,", "{}/good.jsonl,{}/good.jsonl", *_NUMBERS]
_METHODS = ["", "x", "caa", "CAA,", "CAA,CAA", ",", *_NUMBERS]
_LAYERS = ["", "x", "1,", "1,1", ",", "-1", "1.5", "nan", "1e99"]
_RISING = ["", "x", "1,", "1,1", "2,1", "0,1", "-1", "nan", "inf", "1e99"]
_READS = ["", "x", "mean,", "mean,mean", "Mean", *_NUMBERS]
BY_NAME: dict[str, list[str]] = {
    "model": _MODELS,
    "models": [*_MODELS, ",", "organism,", "organism,organism", "organism=x", "=organism:joy"],
    "pairs": _SETS,
    "methods": _METHODS,
    "specific": _METHODS,
    "words": ["", ",", " , "],
    "instruction": ["", " "],
    "device": ["", "x", "cuda:99", *_NUMBERS],
    "dtype": ["", "x", "load", "float", *_NUMBERS],
    "read": _READS,
    "reads": _READS,
    "kinds": ["", "x", "head,", "head,head", *_NUMBERS],
    "multiples": _RISING,
    "budgets": _RISING,
    "layers": _LAYERS,
    "widths": [*_LAYERS, "0"],
    "tokens": [*_LAYERS, "0"],
    "out": _PLACES,
    "card": ["", "{}/empty", "{}/missing", "{}/file"],
    "results": ["", "{}/file", "{}/missing"],
    "runs": ["", "{}/file", "{}/missing", "{}/empty"],
    "one": ["", "x", "3"],
}
BY_TYPE: dict[Any, list[str]] = {
    int: ["", "x", "1e99", "-1", "1.5", "nan", "inf"],
    float: ["", "x", "1e99", "-1", "nan", "inf", "-inf"],
}
FROM_ONE = {"max_new_tokens", "dev_prompts", "seeds", "fits", "best_of", "tokens", "settings"}
FROM_ONE |= {"most", "limit", "steps", "texts", "every"}
FREE = {"wanted"}  # a flag


@dataclass(frozen=True)
class Command:
    """A command: the module or script that runs it, what goes before the options, its options."""

    name: str
    options: dict[str, Any]
    before: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


def all_commands() -> list[Command]:
    """Every command of the package, of the analyses and of the documentation."""
    made = [
        Command("lens_steer", _options(info.callback), (str(info.name or info.callback.__name__),))
        for info in commands.app.registered_commands
        if info.callback is not None
    ]
    for module in modules_run():
        name = module.removesuffix(".__main__")
        code = importlib.import_module(module)
        options = _options(code.STUDY.command() if hasattr(code, "STUDY") else code.main)
        needed = {"analyses.sad_stories": ("--model", "organism")}.get(name, ())
        before = {"analyses.organism_seeds": ("{}/run",)}.get(name, ())
        made.append(Command(name, options, before, needed))
    train = {"seed": int, "out": Path, "steps": int, "texts": int, "every": int}
    made.append(Command("lens_steer.organism.train", train, (), ("--seed", "0")))
    made.append(Command("docs/architecture.py", {"out": "a file"}))
    made.append(Command("docs/renamed.py", {}))
    return made


def modules_run() -> list[str]:
    """The modules of the analyses that are run with `python -m`."""
    paths = sorted((ROOT / "analyses").rglob("*.py"))
    mains = [path for path in paths if '__name__ == "__main__"' in path.read_text("utf-8")]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in mains]


def _options(function: Any) -> dict[str, Any]:
    hints = inspect.get_annotations(function)
    names = inspect.signature(function).parameters
    return {name: _base(hints[name]) for name in names if name not in FREE}


def _base(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        return _base(get_args(hint)[0])
    parts = [part for part in get_args(hint) if part is not type(None)]
    return _base(parts[0]) if type(None) in get_args(hint) else hint


def bad_values(name: str, kind: Any) -> list[str]:
    """Values that an option cannot mean."""
    if get_origin(kind) is Literal:
        return ["", "x", get_args(kind)[0].upper(), *_NUMBERS]
    if kind == "a file":
        return ["", "{}/empty", "{}/missing/page.md"]
    wrong = BY_TYPE[kind] if kind in BY_TYPE else BY_NAME[name]
    wrong = [*wrong, str(2**63)] if name == "seed" else wrong
    return [*wrong, "0"] if name in FROM_ONE else wrong


def by_rule() -> Iterator[tuple[Command, str, list[str]]]:
    """Command lines with one fault each: (command, the word that the message names, arguments)."""
    for command in all_commands():
        for name, kind in command.options.items():
            option = "--" + name.replace("_", "-")
            kept = [word for word in command.required if command.required[0] != option]
            for value in bad_values(name, kind):
                if name == "runs":
                    yield command, name.upper(), ["", value]
                    continue
                given = [] if option in command.required else list(command.required)
                yield command, option, [*command.before, *given, option, value]
            if name != "runs":
                yield command, option, [*command.before, *kept, option]
                good = {"seed": "1", "out": "{}/new"}.get(name)
                if good:
                    twice = [option, good, option, good + "2"]
                    yield command, option, [*command.before, *kept, *twice]
        for wrong in ("--sed", "--minutes", "--ou", "-x"):
            given = [*command.before, *command.required, wrong, "1"]
            yield command, wrong, given
        if "runs" not in command.options:
            yield command, "surplus", [*command.before, *command.required, "surplus"]


LENS_STEER = Command("lens_steer", {})
CONTRADICTIONS: list[tuple[Command, str, list[str]]] = [
    (LENS_STEER, "demp", ["demp"]),
    (LENS_STEER, "comparison", ["comparison"]),
    (LENS_STEER, "--models", ["--models", "organism"]),
    (LENS_STEER, "--pairs", ["demo", "--pairs", "{}/good.jsonl,stories:sad"]),
    (LENS_STEER, "--words", ["demo", "--pairs", "{}/unpaired.jsonl"]),
    (LENS_STEER, "--words", ["compare", "--pairs", "{}/unpaired.jsonl"]),
    (LENS_STEER, "--temperature", ["compare", "--temperature", "0"]),
    (LENS_STEER, "--best-of", ["compare", "--best-of", "1"]),
    (LENS_STEER, "split", ["demo", "--pairs", "{}/few.jsonl"]),
    (LENS_STEER, "split", ["compare", "--pairs", "{}/few.jsonl"]),
    (LENS_STEER, "lens-steer compare", ["demo", "--out", "{}/compared"]),
    (
        Command("analyses.method_comparison", {}),
        "--specific",
        ["--methods", "LQR", "--specific", "CAA"],
    ),
    (Command("analyses.organism_seeds", {}), "RUNS", []),
    (Command("analyses.organism_seeds", {}), "RUNS", ["{}/run", "{}/run"]),
    (Command("analyses.sad_stories", {}), "--model", []),
    (Command("lens_steer.organism.train", {}), "--seed", []),
]


class WorkBegan(BaseException):
    """A model was made, a folder made, a file written or a process started."""


def _work(*args: Any, **kwargs: Any) -> Any:
    raise WorkBegan


def run(command: Command, arguments: list[str], place: Path) -> tuple[Any, str, str]:
    """Run a command in this process: exit code (None: work began), standard output and error."""
    out, err = io.StringIO(), io.StringIO()
    argv = [command.name, *(word.replace("{}", str(place)) for word in arguments)]
    guarded = [(os, "mkdir"), (torch.nn.Module, "__init__"), (subprocess, "Popen")]
    code: Any = 0
    with ExitStack() as stack:
        for holder, name in (*guarded, (Path, "write_text")):
            stack.enter_context(patch.object(holder, name, _work))
        stack.enter_context(patch.object(sys, "argv", argv))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        try:
            if command.name.endswith(".py"):
                runpy.run_path(str(ROOT / command.name), run_name="__main__")
            else:
                runpy.run_module(command.name, run_name="__main__", alter_sys=True)
        except WorkBegan:
            code = None
        except SystemExit as ended:
            code = ended.code or 0
        except Exception as error:  # what a user would see as a traceback
            code, text = 1, f"Traceback\n{type(error).__name__}: {error}"
            err.write(text)
    return code, out.getvalue(), err.getvalue()


def outcome(command: Command, named: str, arguments: list[str], place: Path) -> tuple[str, str]:
    """clear, unclear or accepted, with the message."""
    code, out, err = run(command, arguments, place)
    if code in (0, None):
        return "accepted", err
    one_line = len(err.splitlines()) == 1 and not out
    says = any(word in err for word in ("expected", "requires", "o such", "issing", "twice", "found"))
    says = says or "unexpected" in err
    clear = code == 2 and one_line and named in err and (says or STRICT is False)
    return ("clear" if clear else "unclear"), err


STRICT = True
