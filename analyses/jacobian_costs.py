"""What Jacobians cost: seconds and memory against layers, width and tokens, on random weights.

A random Llama, one text, all layers; dense matrices, or eight products with vectors per layer.
Every cell runs in a separate process, whose peak of memory is measured; on a CPU seconds are CPU
time. A cell that does not end within --limit seconds, or does not fit, is left out and named.
Writes costs.png with its data and their origin; 24 cells, of seconds to five minutes each.

    python -m analyses.jacobian_costs --out out/jacobian_costs
    python -m analyses.jacobian_costs --device cuda --dtype bfloat16 --widths 1024,2048,4096
"""

import ctypes
import gc
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import torch
import typer
from matplotlib.figure import Figure
from tqdm.auto import tqdm

import lens_steer as ls
from analyses.studies import Out, Seed, start
from lens_steer.arguments import Count, Expected
from lens_steer.cli import Device, option
from lens_steer.figures import canvas, legend_outside, save_figure
from lens_steer.files import json_value, writing_in
from lens_steer.linearity import BlockMaps

PRODUCTS = 8  # vectors
CENTRE = {"layers": 8, "width": 256, "tokens": 128}
UNITS = {
    "seconds": "seconds per text",
    "megabytes": "peak memory above the model, MB",
}
AXES = {"layers": "layers", "width": "width of the stream", "tokens": "tokens of the text"}

Counts = Annotated[
    Sequence[int],
    Expected("whole numbers of at least 1", lambda x: len(x) > 0 and min(x) > 0),
]
LayerCounts = Annotated[Any, option(Counts, "The numbers of layers, separated by commas.")]
Widths = Annotated[Any, option(Counts, "The widths of the residual stream, separated by commas.")]
Lengths = Annotated[Any, option(Counts, "The numbers of tokens of the text, separated by commas.")]


def random_model(layers: int, width: int, tokens: int, device: str, dtype: str) -> Any:
    """A Llama of that shape: head width 64 or less, grouped queries, an MLP four times as wide."""
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = max(2, width // 64)
    shape: dict[str, Any] = {"num_attention_heads": heads}
    shape["num_key_value_heads"] = max(1, heads // 4)
    embedded = ls.load_model("organism", device="cpu")
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        max_position_embeddings=2 * tokens,
        **shape,
    )
    with tempfile.TemporaryDirectory() as folder:
        LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
        embedded.tokenizer.save_pretrained(folder)
        return ls.load_model(folder, device=device, dtype=getattr(torch, dtype))


def cell(task: dict[str, Any]) -> dict[str, float]:
    """Seconds of one text through all layers, and how far memory rose above the loaded model."""
    torch.set_num_threads(1)
    torch.manual_seed(task["seed"])
    shape = {name: task[name] for name in CENTRE}
    model = random_model(**shape, device=task["device"], dtype=task["dtype"])
    gpu = task["device"] == "cuda"
    rows = [tuple(torch.randint(3, 500, (task["tokens"],)).tolist())]
    before = _memory(gpu, peak=False)
    clock = time.perf_counter if gpu else time.process_time  # other jobs do not count
    start = clock()
    maps = BlockMaps.of_rows(model, rows, 2**30 if gpu else 3 * 2**23)
    for layer in range(task["layers"]):
        if task["what"] == "dense":
            maps.matrices(layer)
        else:
            maps.vjp(layer, torch.randn(PRODUCTS, 1, task["width"]))
    seconds = clock() - start
    return {"seconds": seconds, "megabytes": _memory(gpu, peak=True) - before}


def _memory(gpu: bool, *, peak: bool) -> float:
    """MB in use now, after which the peak is counted anew; or that peak."""
    if gpu and not peak:
        torch.cuda.reset_peak_memory_stats()
    if gpu:
        return torch.cuda.max_memory_allocated() / 2**20
    if not peak:  # Linux with glibc; pages that loading left behind would hide the rise
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    name = "VmHWM" if peak else "VmRSS"
    return int(re.findall(rf"{name}:\s+(\d+)", status)[0]) / 1024


def task_of(text: str) -> dict[str, Any]:
    """A cell from its JSON.

    Raises:
        ValueError: If it is none.
    """
    try:
        task = json_value(text)
    except ValueError:
        task = None
    if not isinstance(task, dict) or not {*CENTRE, "device", "dtype", "seed", "what"} <= set(task):
        raise ValueError(f"got {text!r}, expected a cell that this command has written")
    return task


def tasks_of(options: dict[str, Sequence[int]], shared: dict[str, Any]) -> list[dict[str, Any]]:
    """All cells: one axis at a time, around the centre."""
    tasks = []
    for axis, values in options.items():
        for value in values:
            for what in ("dense", f"{PRODUCTS} products"):
                task = CENTRE | {axis: value}
                tasks.append(task | {"axis": axis, "what": what} | shared)
    return tasks


def figure_of(table: Any) -> Figure:
    """Both costs against every axis; dotted lines are in proportion to it, from the first point."""
    with canvas(2, len(CENTRE), width=8.6, height=5.0, sharey="row") as (figure, grid):
        for row, (cost, label) in zip(grid, UNITS.items(), strict=True):
            for axes, axis in zip(row, CENTRE, strict=True):
                for i, (what, part) in enumerate(table[table["axis"] == axis].groupby("what")):
                    x, y = part[axis].to_numpy(), part[cost].to_numpy()
                    axes.plot(x, y, "o-", color=f"C{i}", label=what)
                    axes.plot(x, y[0] * x / x[0], ":", color=f"C{i}", lw=0.8)
                axes.set(xscale="log", yscale="log", xlabel=AXES[axis])
                axes.set_xticks(sorted(set(table[table["axis"] == axis][axis])))
                axes.xaxis.set_major_formatter("{x:g}")
                axes.minorticks_off()
            row[0].set(ylabel=label)
        legend_outside(figure, grid[0, 0], title="dotted: in proportion", columns=4)
        centre = ", ".join(f"{value} {name}" for name, value in CENTRE.items())
        figure.suptitle(f"random Llama, {centre} but for the axis", fontsize=9)
    return figure


def main(  # noqa: PLR0913 - a command's options
    layers: LayerCounts = (2, 4, 8, 16),
    widths: Widths = (128, 256, 512, 1024),
    tokens: Lengths = (16, 64, 256, 1024),
    device: Device = "cpu",
    dtype: Annotated[
        str,
        option(
            Literal["float32", "bfloat16"],
            "The number type: float32 or bfloat16.",
            metavar="[float32|bfloat16]",
        ),
    ] = "float32",
    limit: Annotated[
        int, option(Count, "The most seconds that a cell may take.", metavar="INTEGER")
    ] = 300,
    out: Out = Path("out/jacobian_costs"),
    seed: Seed = 0,
    one: Annotated[Any, option(dict, "A cell.", convert=task_of, hidden=True)] = None,
) -> None:
    """Measure seconds and memory of Jacobians against layers, width and tokens."""
    if one is not None:
        typer.echo(json.dumps(cell(one)))
        return
    with writing_in(out):
        axes = {"layers": layers, "width": widths, "tokens": tokens}
        shared = {"device": device, "dtype": dtype, "seed": seed}
        rows: list[dict[str, Any]] = []
        for task in tqdm(tasks_of(axes, shared), desc="cells"):
            command = [sys.executable, "-m", "analyses.jacobian_costs", "--one", json.dumps(task)]
            try:
                cell_run = subprocess.run(command, check=True, capture_output=True, timeout=limit)
            except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
                typer.echo(f"left out: {task}: {type(error).__name__}", err=True)
                continue
            rows.append(task | json.loads(cell_run.stdout.splitlines()[-1]))
        table = pd.DataFrame(rows)
        save_figure(figure_of(table), out / "costs.png", table, {"centre": CENTRE, "limit": limit})
        typer.echo(table.to_string(index=False))


if __name__ == "__main__":
    start(main, __doc__)
