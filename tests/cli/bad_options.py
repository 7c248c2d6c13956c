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
_POSITIONAL = {"runs", "folder"}  # what has no name on the command line
BY_NAME: dict[str, list[str]] = {
    "model": _MODELS,
    "models": [*_MODELS, ",", "organism,", "organism,organism", "organism=x", "=organism:joy"],
    "pairs": _SETS,
    "methods": _METHODS,
    "specific": _METHODS,
    "words": ["", ",", " , "],
    "columns": ["", "x", "x=", "=x", "prompt=a,prompt=b", "prompt=a=b", ","],
    "template": ["", "x", "{answer}"],
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
    "references": ["", ",", "x", "random,", "random,random", *_NUMBERS],
    "architectures": ["", ",", "x", "gpt2,", "gpt2,gpt2", *_NUMBERS],
    "backends": ["", ",", "x", "bridge,", "bridge,bridge", *_NUMBERS],
    "dtypes": ["", ",", "x", "float32,", "float32,float32", *_NUMBERS],
    "tasks": ["", "x", "sea,", "sea,sea", "organism:joy", *_NUMBERS],
    "table": ["", "{}/file"],
    "data": ["", "{}/file", "{}/missing"],
    "judge": ["", "gpt-4", "{}/file", "{}/missing.safetensors", "http://"],
    "judge_model": ["", "m"],
    "judge_key": ["", "KEY"],
    "folder": ["", "{}/file", "{}/missing", "{}/empty"],
    "forecasts": ["", "{}/file", "{}/missing", "{}/empty"],
}
BY_TYPE: dict[Any, list[str]] = {
    int: ["", "x", "1e99", "-1", "1.5", "nan", "inf"],
    float: ["", "x", "1e99", "-1", "nan", "inf", "-inf"],
}
FROM_ONE = {"max_new_tokens", "dev_prompts", "seeds", "fits", "best_of", "tokens", "settings"}
FROM_ONE |= {"most", "limit", "steps", "texts", "every", "prompts", "items"}
BEFORE = {"analyses.organism_seeds": ("{}/run",)}
REQUIRED = {
    "analyses.sad_stories": ("--model", "organism"),
    "analyses.claims": ("--results", "{}/run"),
    "analyses.recommendations": ("--forecasts", "{}/run"),
    **{
        f"analyses.papers.{paper}": ("--table", table, "--model", "organism", "--data", "{}/empty")
        for paper, table in (("sadi", "1"), ("lqr", "truthfulqa"), ("odesteer", "truthfulqa"))
    },
}
SAYS = (
    "expected",
    "requires",
    "required",
    "No such",
    "Missing",
    "not JSON",
    "give more",
    "use cpu",
)
SAYS += ("choose another", "--help lists")


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
        made.append(Command(name, options, BEFORE.get(name, ()), REQUIRED.get(name, ())))
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
    return {name: _base(hints[name]) for name in names}


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


def by_rule(command: Command) -> Iterator[tuple[str, list[str]]]:
    """Command lines with one fault each: (the word that the message names, the arguments)."""
    start = [*command.before, *command.required]
    for name, kind in command.options.items():
        option = "--" + {"listed": "list"}.get(name, name).replace("_", "-")
        if name in _POSITIONAL:
            bad = ((name.upper(), [*command.before, value]) for value in BY_NAME[name])
            yield from bad
            continue
        if kind is bool:
            yield option, [*start, option, option]
            continue
        first = [*command.before, *(() if option in command.required else command.required)]
        for value in bad_values(name, kind):
            yield option, [*first, option, value]
        yield option, [*first, option]
        if name in ("seed", "out"):
            yield option, [*first, option, "1", option, "2"]
    for wrong in ("--sed", "--hours", "--ou", "-x"):
        yield wrong, [*start, wrong, "1"]
    if not command.options.keys() & _POSITIONAL:
        yield "surplus", [*start, "surplus"]


# Options that contradict each other or what they name: (module, word, arguments).
CONTRADICTIONS: list[tuple[str, str, list[str]]] = [
    ("lens_steer", "demp", ["demp"]),
    ("lens_steer", "comparison", ["comparison"]),
    ("lens_steer", "--models", ["--models", "organism"]),
    ("lens_steer", "--pairs", ["demo", "--pairs", "{}/good.jsonl,stories:sad"]),
    ("lens_steer", "--words", ["demo", "--pairs", "{}/unpaired.jsonl"]),
    ("lens_steer", "--words", ["compare", "--pairs", "{}/unpaired.jsonl"]),
    ("lens_steer", "--temperature", ["compare", "--temperature", "0"]),
    ("lens_steer", "--best-of", ["compare", "--best-of", "1"]),
    ("lens_steer", "split", ["demo", "--pairs", "{}/few.jsonl"]),
    ("lens_steer", "split", ["compare", "--pairs", "{}/few.jsonl"]),
    ("lens_steer", "lens-steer compare", ["demo", "--out", "{}/compared"]),
    ("analyses.method_comparison", "--specific", ["--methods", "LQR", "--specific", "CAA"]),
    (
        "analyses.method_comparison",
        "--models",
        ["--models", "organism,organism=stories:sad", "--pairs", "stories:sad"],
    ),
    ("analyses.registered", "--data", ["--tasks", "sentiment"]),
    ("analyses.variance", "--layers", ["--reads", "last", "--layers", "1"]),
    ("analyses.variance", "split", ["--pairs", "{}/few.jsonl"]),
    ("analyses.variance", "unpaired.jsonl", ["--pairs", "{}/unpaired.jsonl"]),
    ("analyses.registered_answers", "--data", []),
    ("analyses.registered_answers", "--data", ["--data", "{}/empty", "--tasks", "copa"]),
    ("analyses.registered_answers", "--items", ["--items", "15"]),
    ("analyses.organism_seeds", "RUNS", []),
    ("analyses.organism_seeds", "RUNS", ["{}/run", "{}/run"]),
    ("analyses.sad_stories", "--model", []),
    ("lens_steer.organism.train", "--seed", []),
]


class WorkBegan(BaseException):
    """A model was made, a folder made, a file written or a process started."""


def _work(*args: Any, **kwargs: Any) -> Any:
    raise WorkBegan


def run(name: str, arguments: list[str], place: Path) -> tuple[Any, str, str]:
    """Run a module or script in this process: exit code (None: work began), stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    argv = [name, *(word.replace("{}", str(place)) for word in arguments)]
    guarded = [(os, "mkdir"), (torch.nn.Module, "__init__"), (subprocess, "Popen")]
    code: Any = 0
    with ExitStack() as stack:
        for holder, function in (*guarded, (Path, "write_text")):
            stack.enter_context(patch.object(holder, function, _work))
        stack.enter_context(patch.object(sys, "argv", argv))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # that a module was imported before it is run
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        try:
            if name.endswith(".py"):
                runpy.run_path(str(ROOT / name), run_name="__main__")
            else:
                runpy.run_module(name, run_name="__main__", alter_sys=True)
        except WorkBegan:
            code = None
        except SystemExit as ended:
            code = ended.code or 0
        except Exception as error:  # what a user would see as a traceback
            code = 1
            err.write(f"Traceback\n{type(error).__name__}: {error}")
    return code, out.getvalue(), err.getvalue()


def outcome(name: str, word: str, arguments: list[str], place: Path) -> tuple[str, str]:
    """clear, unclear or accepted, with the message.

    A refusal is clear if it is one line with exit code 2 that names the option and says what was
    expected, or what to do.
    """
    code, out, err = run(name, arguments, place)
    if code in (0, None):
        return "accepted", err
    says = any(part in err for part in SAYS)
    clear = code == 2 and len(err.splitlines()) == 1 and not out and word in err and says
    return ("clear" if clear else "unclear"), err
