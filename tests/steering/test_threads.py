"""Hooks act in the thread or task that placed them: everywhere else the model is as it was."""

import asyncio
import copy
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.models import ForkSafeLock, open_blocks
from lens_steer.models.modules import evaluating, model_modules
from tests.conftest import BACKENDS, Loader
from tests.interventions import PROMPTS, padded, push, rows_of, run, traces

TOKENS = torch.arange(40)[None] % 50 + 5
SIZE = 3.0


@pytest.fixture(params=BACKENDS)
def either(request: pytest.FixtureRequest, load: Loader) -> Any:
    return load("llama", request.param)


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads take turns so often that a step of one falls between any two steps of another."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def in_a_thread(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(timeout=60)


def logits(model: Any, tokens: Tensor = TOKENS) -> Tensor:
    with torch.no_grad():
        return run(model, tokens, None)


def steered_logits(model: Any, method: ls.Intervention, tokens: Tensor = TOKENS) -> Tensor:
    with ls.steered(model, method):
        return logits(model, tokens)


# ---- threads ----


# GPT-2 as a bridge notes the size of each batch on the model, NeoX runs its parts side by side.
@pytest.mark.parametrize(
    ("architecture", "backend"),
    [pytest.param(a, b) for a in ("llama", "gpt2", "neox") for b in BACKENDS],
)
@pytest.mark.usefixtures("hurried")
def test_a_bare_forward_in_another_thread_is_bit_equal_while_this_one_works(
    load: Loader, architecture: str, backend: str, pairs: ls.ContrastivePairs
) -> None:
    model = load(architecture, backend)
    clean, method = logits(model), push(model, size=SIZE)
    wrong: list[str] = []
    over = threading.Event()

    def bare() -> None:
        while not over.is_set():
            try:
                if not torch.equal(logits(model), clean):
                    wrong.append("other logits")
            except Exception as error:
                wrong.append(repr(error))

    thread = threading.Thread(target=bare)
    thread.start()
    try:
        for _ in range(3):
            ls.capture(model, pairs, read="mean", progress=False)
            ls.generate(model, PROMPTS, method, temperature=0, max_new_tokens=4)
            ls.linearize(model, list(PROMPTS[:2]), progress=False)
            ls.attribution.grad_x_activation(model, pairs, "head")
    finally:
        over.set()
        thread.join()
    assert wrong == []


@pytest.mark.usefixtures("hurried")
def test_threads_that_steer_and_capture_at_once_each_get_their_own(
    either: Any, pairs: ls.ContrastivePairs
) -> None:
    methods = [push(either, seed=seed, size=SIZE) for seed in range(2)]
    alone = [steered_logits(either, method) for method in methods]
    reads = ("last", "mean")
    captured = [ls.capture(either, pairs, read=r, progress=False).desired for r in reads]
    ready = threading.Barrier(4)

    def steer(i: int) -> bool:
        ready.wait(timeout=60)
        return all(torch.equal(steered_logits(either, methods[i]), alone[i]) for _ in range(8))

    def read(i: int) -> bool:
        ready.wait(timeout=60)
        found = [ls.capture(either, pairs, read=reads[i], progress=False) for _ in range(3)]
        return all(torch.equal(one.desired, captured[i]) for one in found)

    before = traces(either)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(work, i) for work in (steer, read) for i in range(2)]
        assert [job.result(timeout=120) for job in jobs] == [True] * 4
    assert traces(either) == before


def test_a_pass_that_ends_does_not_turn_dropout_on_for_one_that_still_runs(llama: Any) -> None:
    modules = model_modules(llama)
    modes = [module.training for module in modules]
    for module in modules:
        module.training = True
    first, second = ExitStack(), ExitStack()  # as two threads enter and leave them
    try:
        first.enter_context(evaluating(modules))
        second.enter_context(evaluating(modules))
        first.close()
        assert not any(module.training for module in modules)
        second.close()
        assert all(module.training for module in modules)
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def test_a_forward_elsewhere_does_not_stumble_over_hooks_that_come_and_go(llama: Any) -> None:
    clean = logits(llama)
    with ls.steered(llama, push(llama, size=SIZE)):
        # For a moment, at either end of the block, PyTorch knows of a hook but not that it takes
        # keywords.
        noted = llama.original_model._forward_pre_hooks_with_kwargs
        before = dict(noted)
        noted.clear()
        assert torch.equal(in_a_thread(lambda: logits(llama)), clean)
        noted.update(before)


def test_a_block_that_ends_in_another_thread_says_that_it_steered_nothing_there(
    llama: Any,
) -> None:
    before = traces(llama)

    def steps() -> Generator[None, None, None]:
        with ls.steered(llama, push(llama)):
            yield

    stream = steps()
    next(stream)
    with pytest.raises(ValueError, match="began in one thread or task and ended in another"):
        in_a_thread(lambda: next(stream))
    left_open = steps()
    in_a_thread(lambda: next(left_open))
    left_open.close()  # closed half-way, wherever that is: nothing more was to be steered
    assert traces(llama) == before


def test_a_plain_thread_that_is_started_inside_a_block_is_not_steered(either: Any) -> None:
    clean = logits(either)
    with ls.steered(either, push(either, size=SIZE)):
        assert not torch.equal(logits(either), clean)
        assert torch.equal(in_a_thread(lambda: logits(either)), clean)
        assert in_a_thread(lambda: open_blocks(either)) == ()
        whole = in_a_thread(lambda: ls.capture(either, _pairs(), progress=False).desired)
        assert in_a_thread(lambda: ls.linearize(either, ["The cat"], progress=False).nominal).any()
        prompts = list(PROMPTS[:1])
        text = in_a_thread(lambda: ls.generate(either, prompts, temperature=0, max_new_tokens=5))
    assert torch.equal(whole, ls.capture(either, _pairs(), progress=False).desired)
    assert text == ls.generate(either, prompts, temperature=0, max_new_tokens=5)


def _pairs() -> ls.ContrastivePairs:
    return ls.ContrastivePairs.load([("The cat", " sat", " ran")])


# ---- asyncio ----


def test_tasks_that_take_turns_are_steered_by_their_own_blocks(either: Any) -> None:
    methods = [push(either, seed=seed, size=SIZE) for seed in range(2)]
    alone, clean = [steered_logits(either, method) for method in methods], logits(either)
    before, order = traces(either), []

    async def steer(i: int, turns: int) -> bool:
        with ls.steered(either, methods[i]):
            right = []
            for _ in range(turns):
                order.append(i)
                await asyncio.sleep(0)
                right.append(torch.equal(logits(either), alone[i]))
                right.append(not torch.equal(_generated(either), plain))
        return all(right)

    async def bare() -> bool:
        await asyncio.sleep(0)
        return torch.equal(logits(either), clean) and torch.equal(_generated(either), plain)

    async def together() -> list[bool]:  # the first block to open is the first to close
        return list(await asyncio.gather(steer(0, 2), bare(), steer(1, 4), bare()))

    plain = _generated(either)
    assert asyncio.run(together()) == [True] * 4
    assert order[:4] == [0, 1, 0, 1]
    assert traces(either) == before


def _generated(model: Any) -> Tensor:
    """Logits would do, but `generate` is what the block replaces."""
    return model.generate(TOKENS[:, :5], max_new_tokens=6, do_sample=False, verbose=False)


def test_tasks_started_inside_a_block_inherit_it_and_do_not_mix_their_prompts(
    either: Any,
) -> None:
    method = push(either, size=SIZE)
    prompts = [TOKENS[:, :n] for n in (5, 9, 14)]

    def texts(tokens: Tensor) -> Tensor:
        return either.generate(tokens, max_new_tokens=5, do_sample=False, verbose=False)

    with ls.steered(either, method, scope="prompt"):
        alone = [texts(tokens) for tokens in prompts]

    async def together() -> list[Tensor]:
        with ls.steered(either, method, scope="prompt"):
            return await asyncio.gather(*(asyncio.to_thread(texts, t) for t in prompts))

    for found, expected in zip(asyncio.run(together()), alone, strict=True):
        assert torch.equal(found, expected)


# ---- forks and copies ----


@contextmanager
def held_elsewhere(lock: ForkSafeLock) -> Iterator[None]:
    """While it lasts, another thread holds the lock."""
    taken, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            release.wait(timeout=60)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(timeout=60)
    yield
    release.set()
    thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_that_is_forked_inside_a_block_can_steer_and_finds_locks_free(
    llama: Any,
) -> None:
    lock, method = ForkSafeLock(), push(llama, size=SIZE)
    expected = steered_logits(llama, method)
    with held_elsewhere(lock), ls.steered(llama, push(llama, seed=1)):
        child = os.fork()
        if child == 0:  # the child does nothing but this, and never comes back to pytest
            right = False
            try:
                with lock, ls.steered(llama, method, prompt_lengths=[TOKENS.shape[1]]):
                    right = not torch.equal(logits(llama), expected)  # both blocks act
            finally:
                os._exit(0 if right else 1)
    deadline = time.monotonic() + 60
    done, status = 0, 0
    while not done and time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.02)
    if not done:
        os.kill(child, 9)
    assert done == child, "the child hangs"
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_deep_copy_made_inside_a_block_is_clean_there_and_afterwards(either: Any) -> None:
    clean, plain = logits(either), _generated(either)
    with ls.steered(either, push(either, size=SIZE)):
        with torch.no_grad():
            clone = copy.deepcopy(either)
        inside = logits(clone)
        assert torch.equal(_generated(clone), plain)
        assert not torch.equal(logits(either), clean)
    assert torch.equal(inside, clean)
    assert torch.equal(logits(clone), clean)
    assert torch.equal(_generated(clone), plain)
    assert clone.generate.__self__ is clone
    method = push(clone, size=SIZE)
    assert torch.equal(steered_logits(clone, method), steered_logits(either, method))


def test_hooks_that_were_removed_inside_a_block_are_missed(either: Any) -> None:
    before, batch = traces(either), padded(either, rows_of(either), "none")
    with ls.steered(either, push(either)):
        either.reset_hooks(including_permanent=True)
        with pytest.raises(ValueError, match="removed while it was open"):
            run(either, batch.tokens, None)
    assert traces(either) == before
