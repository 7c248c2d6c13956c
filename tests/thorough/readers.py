"""Everything of lens_steer that reads files which others may have written or broken."""

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as saved

from lens_steer.artifacts import load, save
from lens_steer.benchmark import Comparison, Journal, read
from lens_steer.benchmark.journal import kept_rows
from lens_steer.data import ContrastivePairs
from lens_steer.models import load_model
from tests.thorough.mutations import VALUES, as_json, broken, changed

TERMS = {"seed": 0, "versions": {"torch": "2"}, "multiples": (0.5, 1.0)}
UNITS: list[tuple[tuple[Any, ...], list[dict[str, Any]]]] = [
    (("mood", f"method {i}", 0), [{"value": i + j, "texts": ["ä b"]} for j in range(1 + i % 3)])
    for i in range(6)
]


@dataclass(frozen=True)
class Reader:
    """A reader and files that it reads.

    Attributes:
        files: The whole files that it reads, by name.
        read: Reads a folder of them.
        accept: What is wrong with what was read of a broken folder, in words; empty if nothing is.
        restructured: Breaks the meaning of a file and leaves its form, checksums included, whole.
        untouched: Files that are put into the folder and never broken.
        together: Whether it reads all files of the folder, rather than any one of them.
    """

    files: dict[str, bytes]
    read: Callable[[Path], Any]
    accept: Callable[[Any], str]
    restructured: Callable[[str, bytes, Random], bytes]
    untouched: dict[str, bytes] = field(default_factory=dict)
    together: bool = True

    def broken_folder(self, folder: Path, draw: Random) -> str:
        """Write the files into an empty folder, one of them broken; returns its name."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        name = draw.choice(sorted(self.files))
        for each, data in (self.files | self.untouched).items() if self.together else ():
            (folder / each).write_bytes(data)
        data = self.files[name]
        (folder / name).write_bytes(
            self.restructured(name, data, draw) if draw.random() < 0.5 else broken(data, draw)
        )
        return name


def pairs_reader(source: ContrastivePairs, suffix: str, folder: Path) -> Reader:
    """Of `.jsonl`, `.json` or `.csv`."""
    path = folder / f"whole{'.csv' if suffix == '.csv' else '.jsonl'}"
    source.save(path)
    data = path.read_bytes()
    if suffix == ".json":
        data = as_json([json.loads(line) for line in data.splitlines()])
    restructured = {".csv": _csv_changed, ".json": _json_changed, ".jsonl": _jsonl_changed}[suffix]
    return Reader(
        {f"pairs{suffix}": data},
        lambda place: ContrastivePairs.load(place / f"pairs{suffix}"),
        lambda found: _not_read_back(found, folder),
        restructured,
    )


def _not_read_back(found: ContrastivePairs, folder: Path) -> str:
    """Pairs that were read are pairs: they are saved and read again, and then equal."""
    found.save(folder / f"{found.name}.jsonl")
    again = ContrastivePairs.load(folder / f"{found.name}.jsonl")
    return "" if again == found else f"saved and read again {found!r} is {again!r}"


def _json_changed(name: str, data: bytes, draw: Random) -> bytes:
    del name
    return as_json(changed(json.loads(data), draw))


def _jsonl_changed(name: str, data: bytes, draw: Random) -> bytes:
    del name
    rows = changed([json.loads(line) for line in data.splitlines()], draw)
    return b"\n".join(map(as_json, rows)) if isinstance(rows, list) else as_json(rows)


def _csv_changed(name: str, data: bytes, draw: Random) -> bytes:
    del name
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    row = draw.choice(rows)
    row[draw.randrange(len(row))] = str(draw.choice([v for v in VALUES if v != 10**400]))
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


# ---- artefacts ----


def artefact_reader(things: dict[str, Any], folder: Path) -> Reader:
    """Of `.safetensors` that `save` wrote; by turns, each is the file of that name."""
    files: dict[str, bytes] = {}
    for name, thing in things.items():
        save(thing, folder / name)
        files[name] = (folder / name).read_bytes()

    def load_all(place: Path) -> dict[str, Any]:
        return {name: load(place / name) for name in files if place.joinpath(name).is_file()}

    def accept(found: dict[str, Any]) -> str:
        for name, thing in found.items():
            save(thing, folder / "again")
            if not repr(thing) or type(load(folder / "again")) is not type(thing):
                return f"{name} cannot be saved again"
        return ""

    return Reader(files, load_all, accept, _artefact_changed, together=False)


def _artefact_changed(name: str, data: bytes, draw: Random) -> bytes:
    """Another content or another tensor under a checksum that fits."""
    del name
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    header, tensors = json.loads(metadata["lens_steer"]), tensors_of(data)
    header.pop("sha256")
    if draw.random() < 0.3 and tensors:
        key = draw.choice(sorted(tensors))
        tensors[key] = _another_tensor(tensors[key], draw)
    else:
        header = changed(header, draw)
        if not isinstance(header, dict):
            header = {"format": 1, "content": header}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for key in sorted(tensors):
        tensor = tensors[key].contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    header["sha256"] = digest.hexdigest()
    text = json.dumps(header, sort_keys=True)
    return saved(tensors, metadata={"lens_steer": text.encode("utf-8", "replace").decode()})


def _another_tensor(tensor: torch.Tensor, draw: Random) -> torch.Tensor:
    number = tensor.double() if tensor.dtype is torch.bool else tensor
    made: list[Callable[[], torch.Tensor]] = [
        lambda: torch.full_like(number, float("nan")) if number.is_floating_point() else number[:0],
        lambda: tensor[None],
        lambda: tensor.flatten()[:1],
        lambda: torch.zeros(0),
        lambda: torch.zeros_like(tensor),
        lambda: number.to(draw.choice((torch.float64, torch.float16, torch.int64, torch.uint8))),
        lambda: -1e38 * number.float(),
    ]
    return draw.choice(made)().contiguous()


# ---- journals and kept comparisons ----


def journal_reader(folder: Path) -> Reader:
    """Of the rows that long runs keep: what is read are whole units, each row as it was kept."""
    whole = Journal(folder / "whole.jsonl", TERMS)
    for unit, rows in UNITS:
        whole.add(unit, rows)
    rows = kept_rows(folder / "whole.jsonl")

    def accept(found: Journal) -> str:
        expected = [row for row in rows if tuple(row["unit"]) in found.done]
        same = sorted(map(str, found.rows)) == sorted(map(str, expected))
        return "" if same else f"other rows: {found.rows}"[:1000]

    data = (folder / "whole.jsonl").read_bytes()
    return Reader(
        {"trials.jsonl": data},
        lambda place: Journal(place / "trials.jsonl", TERMS),
        accept,
        _damaged,
    )


def _damaged(name: str, data: bytes, draw: Random) -> bytes:
    del name
    return broken(data, draw)


def comparison_reader(out: Path) -> Reader:
    """Of what `lens-steer compare` keeps, its lines under checksums that fit."""

    def accept(found: Comparison) -> str:
        return "" if len(found.table()) else "a table of no rows"

    return Reader(
        {"trials.jsonl": (out / "trials.jsonl").read_bytes()}, read, accept, _trial_changed
    )


def _trial_changed(name: str, data: bytes, draw: Random) -> bytes:
    del name
    lines = data.splitlines()
    number = draw.randrange(len(lines))
    row = changed(json.loads(lines[number]), draw)
    if not isinstance(row, dict):
        return data[:-1]
    row.pop("sha256", None)
    first = [key for key in ("terms", "unit", "rows") if key in row]
    names = [*first, *sorted(set(row) - set(first))]
    whole = ", ".join(f"{json.dumps(n)}: {json.dumps(row[n], sort_keys=True)}" for n in names)
    digest = hashlib.sha256(whole.encode()).hexdigest()
    lines[number] = f'{{"sha256": "{digest}", {whole}}}'.encode()
    return b"\n".join(lines) + b"\n"


# ---- models ----

_BROKEN = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")


def model_reader(directory: Path) -> Reader:
    """Of a folder in the Hugging Face format."""
    files = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    untouched = {name: data for name, data in files.items() if name not in _BROKEN}

    def restructured(name: str, data: bytes, draw: Random) -> bytes:
        if name.endswith(".json"):
            return as_json(changed(json.loads(data), draw))
        size = int.from_bytes(data[:8], "little")
        header = as_json(changed(json.loads(data[8 : 8 + size]), draw))
        return len(header).to_bytes(8, "little") + header + data[8 + size :]

    return Reader(
        {name: files[name] for name in _BROKEN if name in files},
        lambda place: load_model(place, device="cpu"),
        lambda model: "" if model.cfg.n_layers > 0 else "a model of no layers",
        restructured,
        untouched,
    )
