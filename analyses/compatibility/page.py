"""The matrix as a page: a row for each architecture, a column for each environment and backend."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from analyses.compatibility.architectures import ARCHITECTURES
from analyses.compatibility.cells import DTYPES, Cell, Result
from analyses.compatibility.checks import CHECKS, TOLERANCE
from analyses.compatibility.results import Measured, Results

_CHECKS = ("loads", *CHECKS)
_TOLERANCE = {name: TOLERANCE[dtype] for name, dtype in DTYPES.items()}
_RIGHT, _WRONG = "right", "wrong"
_INTRO = """# Compatibility

`python -m analyses.compatibility --table docs --out analyses/results/compatibility` writes this
page from the files in that folder; `python -m analyses.compatibility --help` says how a cell is
measured. The models are tiny and random, made from configurations: two layers, a
residual stream of 32, a window of 8 positions where there is one. They show whether a computation
is right, and nothing about speed or memory. All ran on a CPU.

Each of the nine checks is one of
`loads` (`load_model` takes it),
`logits` (equal to Hugging Face's own model),
`cached` (equal to those without a cache),
`batched` (a row equals itself alone),
`padded` (left equals right padding),
`reads` (the residual stream equals the outputs of Hugging Face's blocks),
`caa` (steering equals a hook on Hugging Face's block, over a cache and without; with strength 0
logits are equal to the bit),
`heads` (head outputs equal what a matrix in Hugging Face's block is multiplied with), and
`jacobians` (a product equals autograd through Hugging Face's block).

Equal means: the largest difference, in units of the largest number that is right, is at most
"""
_EXPLAINED = """.
Below float32 Hugging Face's model runs its plain attention (`eager`), as TransformerLens does.

**all** means that all nine are right; *refused* that lens_steer raises an error of its own, the
number says which; *raised* that another package's error comes through; **wrong** is a wrong number.
Where dtypes differ each is named.
"""
_VERSIONS = re.compile(r",? with transformers \S+ and TransformerLens \d[\w.]*")
_NUMBER = re.compile(r"\d(\.\d+)?e[+-]\d+|c10::\w+")
_CLASS = re.compile(
    r"\b(?!Auto)[A-Z]\w*(ForCausalLM|LMHeadModel|ForConditionalGeneration|ForMaskedLM)\b"
)
_LONGEST = 260


def status(check: Result, dtype: str) -> str:
    """`right` or `wrong`, or what happened instead: `refused`, `raised`, `crash`, `timeout`, ..."""
    if isinstance(check, str):
        return check.partition(":")[0]
    return _RIGHT if check <= _TOLERANCE[dtype] else _WRONG


def statuses(measured: Measured) -> dict[str, str]:
    """The status of every check that was reached."""
    return {name: status(result, measured.cell.dtype) for name, result in measured.checks.items()}


def verdict(measured: Measured) -> str:
    """One cell in a few words: `all`, or what is not right."""
    return _Notes().verdict(measured)


@dataclass
class _Notes:
    """Numbers the messages as they come.

    Attributes:
        numbers: The number of each message; None in place of numbers where it is empty.
    """

    numbers: dict[str, int] | None = None
    where: dict[str, set[str]] = field(default_factory=dict)

    def verdict(self, measured: Measured) -> str:
        faults = {name: s for name, s in statuses(measured).items() if s != _RIGHT}
        if not faults:
            return "all" if len(measured.checks) == len(_CHECKS) else "ended early"
        said = {name: self._marked(measured, name, fault) for name, fault in faults.items()}
        if "loads" in said:
            return said["loads"]
        return "all but " + ", ".join(f"{name} ({what})" for name, what in said.items())

    def _marked(self, measured: Measured, name: str, fault: str) -> str:
        """A status, in bold where a number is wrong, with the number of its message."""
        result = measured.checks[name]
        shown = f"**{fault}**" if fault == _WRONG else fault
        if not isinstance(result, str):
            return f"{shown} by {result:.1e}"
        if self.numbers is None:
            return shown
        message = in_short(result)
        self.where.setdefault(message, set()).add(measured.cell.architecture)
        return f"{shown} {self.numbers.setdefault(message, len(self.numbers) + 1)}"


def in_short(message: str) -> str:
    """The first sentence of a message, without what differs from model to model."""
    text = message.partition(": ")[2]
    for end in (" (expected a local directory", ": use ", ": are all ", ". "):
        text = text.partition(end)[0]
    for differs in (_CLASS, _NUMBER):
        text = differs.sub("...", text)
    text = _VERSIONS.sub("", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def page(all_results: Sequence[Results]) -> str:
    """The whole page."""
    notes = _Notes({})
    environments = sorted(all_results, key=_order)
    columns = [
        (results, backend)
        for results in environments
        for backend in dict.fromkeys(cell.backend for cell in sorted(results.cells))
    ]
    allowed = ", ".join(f"{value:g} in {name}" for name, value in _TOLERANCE.items())
    matrix = [
        [name, *(_entry(results, name, backend, notes) for results, backend in columns)]
        for name in ARCHITECTURES
    ]
    titles = [f"{_title(results)}: {backend}" for results, backend in columns]
    assert notes.numbers is not None
    messages = [
        [str(number), _escaped(message), ", ".join(sorted(notes.where[message]))]
        for message, number in notes.numbers.items()
    ]
    return (
        f"{_INTRO}{allowed}{_EXPLAINED}\n"
        + "## How many cells\n\n"
        + _table(["", *titles], _counts(columns))
        + "\n## The matrix\n\n"
        + _table(["architecture", *titles], matrix)
        + "\n## What is said\n\n"
        + "The first sentence of each message; what differs from model to model is left out.\n\n"
        + _table(["", "message", "architectures"], messages)
        + "\n## The largest errors among what is right\n\n"
        + _table(["", *DTYPES], _largest(all_results))
        + "\n## The environments\n\n"
        + "".join(f"- {_environment(results)}\n" for results in environments)
    )


def _entry(results: Results, architecture: str, backend: str, notes: _Notes) -> str:
    """One architecture in one column: dtypes of one verdict together."""
    by_verdict: dict[str, list[str]] = {}
    for dtype in DTYPES:
        measured = results.cells.get(Cell(architecture, backend, dtype))
        said = "not measured" if measured is None else notes.verdict(measured)
        by_verdict.setdefault("**all**" if said == "all" else said, []).append(dtype)
    if len(by_verdict) == 1:
        return next(iter(by_verdict))
    return "; ".join(f"{', '.join(names)}: {said}" for said, names in by_verdict.items())


def _counts(columns: Sequence[tuple[Results, str]]) -> list[list[str]]:
    """How many cells of each column came to what."""
    counts = []
    for results, backend in columns:
        cells = [m for cell, m in results.cells.items() if cell.backend == backend]
        counts.append(Counter(_worst(m) for m in cells) + Counter(measured=len(cells)))
    kinds = dict.fromkeys(["measured", "all right", *(kind for count in counts for kind in count)])
    return [[kind, *(str(count[kind]) for count in counts)] for kind in kinds]


def _worst(measured: Measured) -> str:
    """What one cell counts as."""
    each = statuses(measured)
    others = [s for s in each.values() if s != _RIGHT]
    if not others:
        return "all right" if len(each) == len(_CHECKS) else "ended early"
    if _WRONG in others:
        return "a wrong number"
    if set(others) == {"refused"}:
        return (
            "not loaded: refused"
            if "loads" in each and others == [each["loads"]]
            else "parts refused"
        )
    return next(s for s in others if s != "refused")


def _largest(all_results: Sequence[Results]) -> list[list[str]]:
    """The largest error of each check in each dtype, of those that are right."""
    rows = []
    for name in CHECKS:
        row = [name]
        for dtype in DTYPES:
            errors = [
                result
                for results in all_results
                for cell, measured in results.cells.items()
                if cell.dtype == dtype and isinstance(result := measured.checks.get(name), float)
                if result <= _TOLERANCE[dtype]
            ]
            row.append(f"{max(errors):.1e}" if errors else "")
        rows.append(row)
    return rows


def _order(results: Results) -> list[int]:
    """Environments stand in the order of their versions."""
    names = ("transformer-lens", "transformers")
    return [int(part) for name in names for part in re.findall(r"\d+", results.versions[name])]


def _title(results: Results) -> str:
    versions = results.versions
    return (
        f"TransformerLens {versions['transformer-lens']}, transformers {versions['transformers']}"
    )


def _environment(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    dates = sorted({measured.date for measured in results.cells.values()})
    codes = len({measured.code for measured in results.cells.values()})
    span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    changed = "" if codes == 1 else f", with {codes} states of the code"
    return f"{versions}; seed {results.seed}; measured {span}{changed}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join(lines) + "\n"
