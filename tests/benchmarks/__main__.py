"""Speed, as ratios within one run: interleaved, medians, the base measured against itself.

`make bench` prints one line per target. Absolute times mean nothing on a shared machine; a ratio of
two things timed in turn does. Nothing here gates anything.
"""

import argparse
import gc
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import lens_steer as ls
from lens_steer.activations import ContrastStats
from lens_steer.activations.reading import read_rows
from lens_steer.attribution import answers_at
from lens_steer.models import Encoded, encode, input_device, read
from lens_steer.steering import Additive, Decoding, continuations_of_each, prompt_rows
from lens_steer.steering.sadi.grid import PUBLISHED
from tests.benchmarks.generation import loop_speed
from tests.benchmarks.jacobians import dense_speed, jacobian_speed
from tests.benchmarks.odesteer import fit_speed, flow_generation_speed, flow_speed
from tests.benchmarks.regulators import gains_speed, regulated_generation_speed
from tests.benchmarks.timing import interleaved, ratio
from tests.conftest import tokenizer_of


def llama(width: int, layers: int, backend: Any) -> ls.SteerableModel:
    """A random Llama of that size, loaded as a user would load it."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=512,
    )
    with tempfile.TemporaryDirectory() as folder:
        LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer_of("llama").save_pretrained(folder)
        return ls.load_model(folder, backend=backend)


def capture_speed(runs: int, backend: str) -> str:
    """A bare forward stopped after the last block, against reading every block's output in it."""
    model = llama(512, 8, backend)
    tokens = torch.randint(0, 500, (4, 128), device=input_device(model))
    rows = [Encoded(tuple(row), 1) for row in tokens.tolist()]
    sites = [ls.Site(layer) for layer in range(model.cfg.n_layers)]

    def bare() -> None:
        with torch.no_grad():
            read(model, tokens, None, {sites[-1]: lambda x: x[:, -1]})

    def captured() -> None:
        read_rows(model, rows, sites, "last")

    first, taken, second = interleaved(runs, bare, captured, bare)
    return f"bare / capture {ratio(first, taken):.3f} (bare / bare {ratio(first, second):.3f})"


def generation_speed(runs: int, backend: str) -> str:
    """Generation with CAA at one layer, against unsteered."""
    model = llama(256, 8, backend)
    method = Additive((ls.Site(4),), (torch.randn(256),))
    prompts = ["the cat sat on the mat", "a dog"]

    def plain() -> None:
        ls.generate(model, prompts, max_new_tokens=32, temperature=0.0)

    def steered() -> None:
        ls.generate(model, prompts, method, max_new_tokens=32, temperature=0.0)

    first, taken, second = interleaved(runs, plain, steered, plain)
    base = ratio(second, first)
    return f"CAA / unsteered {ratio(taken, first):.3f} (unsteered / unsteered {base:.3f})"


def trial_speed(runs: int, backend: str) -> str:
    """One trial (texts, behaviour, nats, perplexity), against generating as many unsteered."""
    model, pairs, method = trials(backend)
    how: dict[str, Any] = {"max_new_tokens": 32, "seed": 0}

    def plain() -> None:
        ls.generate(model, pairs.prompts, **how)

    def trial() -> None:
        ls.evaluate(model, pairs, method, judge=ls.WordList(("cat",)), **how)

    first, taken, second = interleaved(runs, plain, trial, plain)
    base = ratio(second, first)
    return f"trial / generation {ratio(taken, first):.3f} (generation / generation {base:.3f})"


def sweep_speed(runs: int, backend: str) -> str:
    """Texts at 20 strengths as rows of one batch, against 20 generations one after the other."""
    model, pairs, method = trials(backend)
    each = [method.with_strength(0.05 * i) for i in range(20)]
    rows = prompt_rows(model, pairs.prompts, 32)

    def one_by_one() -> None:
        for way in each:
            ls.generate(model, pairs.prompts, way, max_new_tokens=32, seed=0)

    def together() -> None:
        own = [(way,) for way in each]
        continuations_of_each(model, rows, own, Decoding(max_new_tokens=32, seed=0))

    def whole() -> None:
        ls.evaluate_each(model, pairs, each, judge=ls.WordList(("cat",)), max_new_tokens=32, seed=0)

    apart, once, scored = interleaved(max(1, runs // 3), one_by_one, together, whole)
    return f"texts {ratio(once, apart):.3f}, evaluated {ratio(scored, apart):.3f} of 20 generations"


def trials(backend: str) -> tuple[ls.SteerableModel, ls.ContrastivePairs, Additive]:
    """A model, eight prompts of about 64 tokens, and a push."""
    model = llama(256, 8, backend)
    words = ["cat", "dog", "mat", "sat"]
    prompts = [" ".join(f"the {words[(i + j) % 4]} ran" for j in range(8)) for i in range(4)]
    prompts += [prompt + " off" for prompt in prompts]
    pairs = ls.ContrastivePairs.of([(prompt, " and ran.", " and sat.") for prompt in prompts])
    return model, pairs, Additive((ls.Site(4),), (0.1 * torch.randn(256),))


def selection_speed(runs: int, backend: str) -> str:
    """Statistics of heads, neurons and MLP outputs, one kind after the other, of 64 pairs.

    Prompts have 64 tokens, answers 2. Against one example at a time, everything cached.
    """
    pairs = short_answers(64)
    model: Any = llama(256, 8, backend)
    kinds = ("head", "neuron", "mlp_out")
    rows = [
        torch.tensor([encode(model, example.prompt, example.continuation).ids])
        for example in (*pairs.desired, *pairs.undesired)
    ]

    def one_by_one() -> None:
        with torch.no_grad():
            for row in rows:
                model.run_with_cache(row.to(input_device(model)))

    def streamed() -> None:
        for kind in kinds:
            ContrastStats.fit(model, pairs, kind, progress=False)

    def heads() -> None:
        ContrastStats.fit(model, pairs, "head", progress=False)

    each, taken, some = interleaved(runs, one_by_one, streamed, heads, clock=time.process_time)
    fewer = tokens_entering(model, one_by_one) / tokens_entering(model, heads)
    return (
        f"CPU of run_with_cache / fit {ratio(each, taken):.2f} for three kinds, "
        f"{ratio(each, some):.2f} for heads; tokens {fewer:.2f} of one kind"
    )


def short_answers(n: int) -> ls.ContrastivePairs:
    """Pairs of different prompts, 64 tokens each with the BOS, and answers of two."""
    return ls.ContrastivePairs.of([((f"{i:02}" * 32)[:63], "+.", "-.") for i in range(n)])


def tokens_entering(model: Any, action: Callable[[], object]) -> int:
    """Tokens, padding included, that pass the first block while `action` runs."""
    seen: list[int] = []

    def enter(x: torch.Tensor, hook: Any) -> None:
        del hook
        seen.append(x.shape[0] * x.shape[1])

    with model.hooks(fwd_hooks=[("blocks.0.hook_resid_pre", enter)]):
        action()
    return sum(seen)


def grid_speed(runs: int, backend: str) -> str:
    """SADI's 332 points on 64-token prompts, against batched full forwards of both answers.

    16 points are run in full, and their time is multiplied: all of them would take minutes.
    """
    model = llama(256, 8, backend)
    torch.manual_seed(0)
    points: list[ls.SADI] = []
    for kind, (ks, deltas) in PUBLISHED.items():
        elements = {"head": 8, "neuron": 1024}.get(kind.value, 256)
        scores = ls.ElementScores(torch.randn(8, elements), kind, tuple(range(8)))
        points += [ls.SADI(scores.top(k), delta) for k in ks for delta in deltas]
    some, found = points[::21], []
    for answers in (("+", "-"), ("+.", "-.")):
        prompts = [(f"{i:02}" * 32)[:63] for i in range(4)]
        pairs = ls.ContrastivePairs.of([(prompt, *answers) for prompt in prompts])

        def at_once(pairs: ls.ContrastivePairs = pairs) -> None:
            answers_at(model, pairs, [point.gains() for point in points])

        def in_full(pairs: ls.ContrastivePairs = pairs) -> None:
            for point in some:
                ls.preference(model, pairs, point)

        full, taken = interleaved(max(1, runs // 5), in_full, at_once, clock=time.process_time)
        found.append(ratio(full, taken) * len(points) / len(some))
    one, two = found
    return f"{len(points)} points, full / at once: CPU {one:.1f}, answers of two tokens {two:.1f}"


def jacobians_of_a_block(runs: int, backend: str) -> str:
    """Matrices and products of one block, against autograd through the whole sequence."""
    return jacobian_speed(llama(256, 8, backend), runs)


def dense_jacobians(runs: int, backend: str) -> str:
    """Matrices of all blocks, against the floor of multiplications that they need."""
    return dense_speed(llama(576, 4, backend), runs)


def regulator_gains(runs: int, backend: str) -> str:
    """From texts to the gains of a regulator."""
    return gains_speed(llama(256, 8, backend), runs)


def regulated_generation(runs: int, backend: str) -> str:
    """Generation under regulators at all layers."""
    return regulated_generation_speed(llama(256, 8, backend), runs)


def generation_loop(runs: int, backend: str) -> str:
    """Our decode loop against the bridge's, and that against Transformers' own."""
    del backend
    return loop_speed(llama(512, 8, "bridge"), runs)


def flow_generation(runs: int, backend: str) -> str:
    """Generation along a flow at one layer."""
    return flow_generation_speed(llama(256, 8, backend), runs)


def flows(runs: int, backend: str) -> str:
    """Flows along barriers, against FFTs of a sketch in every step."""
    del backend
    return flow_speed(runs)


def barrier_fit(runs: int, backend: str) -> str:
    """Fitting a barrier with the exact kernel, against a sketch."""
    del backend
    return fit_speed(runs)


def import_speed(runs: int, backend: str) -> str:
    """Importing lens_steer after torch, against importing torch."""
    del backend

    def seconds(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    seconds("import torch, lens_steer")
    pairs = [
        (seconds("import torch"), seconds("import torch, lens_steer"), seconds("import torch"))
        for _ in range(runs)
    ]
    base, ours, again = (list(column) for column in zip(*pairs, strict=True))
    return f"lens_steer / torch {ratio(ours, base):.3f} (torch / torch {ratio(again, base):.3f})"


def streaming_memory(runs: int, backend: str) -> str:
    """Peak memory above the loaded model, streaming 100 and 10,000 pairs in fresh processes."""
    del runs
    peaks = []
    program = [sys.executable, "-m", "tests.benchmarks", "--backend", backend]
    for n in (100, 10_000):
        command = [*program, "--stream", str(n)]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(float(found.stdout.split()[-1]))
    few, many = peaks
    return f"peak +{few:.1f} MB for 100 pairs, +{many:.1f} MB for 10,000"


def stream(n: int, backend: str) -> None:
    """Print how far streaming `n` pairs, after a warm-up, raises peak memory (MB)."""
    model = llama(256, 4, backend)
    words = ["cat", "dog", "mat", "sat"]
    rows = [(f"the {words[i % 4]} {i % 100}", " ran . ", " sat . ") for i in range(n)]
    pairs = ls.ContrastivePairs.of(rows)
    warm = ls.ContrastivePairs.of((rows * (1000 // n + 1))[:1000])  # the allocator's working set
    ContrastStats.fit(model, warm, "neuron", progress=False)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the peak so far
    before = _memory("VmRSS")
    ContrastStats.fit(model, pairs, "neuron", progress=False)
    sys.stdout.write(f"{_memory('VmHWM') - before}\n")


def _memory(what: str) -> float:
    """MB, as the kernel counts them (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(rf"{what}:\s+(\d+)", status)[0]) / 1024


def main() -> None:
    """Run all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="rounds of each ratio")
    parser.add_argument("--backend", choices=["bridge", "hooked"], default=None)
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.stream:
        stream(options.stream, options.backend or "bridge")
        return
    installed = version("transformer-lens")
    backends = ["bridge", "hooked"] if installed.startswith("3.") else ["bridge"]
    measures = (
        *(capture_speed, selection_speed, generation_speed),
        *(trial_speed, sweep_speed, grid_speed),
        *(
            jacobians_of_a_block,
            dense_jacobians,
            regulator_gains,
            regulated_generation,
            flow_generation,
        ),
    )
    no_model = (flows, barrier_fit, import_speed, generation_loop)
    for measure in (*measures, *no_model, streaming_memory):
        chosen = [options.backend] if options.backend else backends
        for backend in chosen[:1] if measure in no_model else chosen:
            found = measure(options.runs, backend)
            line = f"{measure.__name__:18} {backend:7} {installed:6} {found}\n"
            sys.stdout.write(line)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
