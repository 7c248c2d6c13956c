"""Through which path steering acts: each path against a literal key-value cache, and half-lives."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor

import lens_steer as ls
from analyses.paths import PathSplitReport
from analyses.paths.effects import PATHS, path_effects
from analyses.paths.statistics import half_life, half_life_interval
from lens_steer.activations import capture
from lens_steer.artifacts.registry import TYPES
from lens_steer.attribution import ElementMask
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, SampledText
from lens_steer.intervals import interval
from lens_steer.models import Decoder, encode_prompt, hooked
from lens_steer.sites import Kind
from lens_steer.steering import CAA, Additive, FrozenSADI, Intervention
from tests.interventions import Scale, drawn, push
from tests.oracles_evaluation import divergence

Array = np.ndarray[Any, np.dtype[np.float64]]

RESIDUAL, CACHE, BOTH, STOPPED = range(4)
# Float32 logits of order 10, over a cache and without one: shares of a change, and of nats.
AGREES = 1e-4
# The same where there are next to no nats.
NATS = 5e-6
# Float32 logits of one forward and of another of the same shape.
ROUNDING = 1e-9

# Two of them are of one length; the longest is longer than Gemma's window of 16.
PROMPTS = ("The cat", "Hi!", "No!", "One day, the dog and the cat met.")
FEW: dict[str, Any] = {"max_new_tokens": 5, "seed": 3, "progress": False}


def texts_of(
    model: Any, lengths: Sequence[int] = (4, 3, 4, 2), *, ended: Sequence[bool] = (False,) * 4
) -> FixedTexts:
    """Random continuations: what is drawn along a text does not matter."""
    found = []
    for i, (prompt, length) in enumerate(zip(PROMPTS, lengths, strict=True)):
        row = encode_prompt(model, prompt)
        new = torch.randint(3, 100, (length,), generator=torch.Generator().manual_seed(i))
        found.append(SampledText((*row, *new.tolist()), len(row), ended=ended[i]))
    return FixedTexts(tuple(found))


def literal(model: Any, text: SampledText, offset: int, steered: range, push: Additive) -> Array:
    """Logits at an offset over a cache of what precedes it, by a hook on marked positions."""
    end = text.prompt_length - 1 + offset
    tokens = torch.tensor([text.ids[: end + 1]])
    marks = torch.zeros(1, end + 1)
    marks[0, [text.prompt_length - 1 + k for k in steered]] = 1.0
    decoder = Decoder(model, tokens[:, :-1], torch.ones(1, end, dtype=torch.bool))
    (site,), (vector,) = push.sites, push.vectors

    def adding(part: slice) -> Any:
        return {site: lambda x: x + marks[:, part, None] * vector}

    with torch.no_grad():
        with hooked(model, adding(slice(0, end))):
            decoder.start()
        with hooked(model, adding(slice(end, end + 1))):
            return decoder.advance(tokens[:, -1:])[0].double().numpy()


def steered_offsets(path: int, offset: int, stop_after: int) -> range:
    """The definition of each path."""
    if path == RESIDUAL:
        return range(offset, offset + 1)
    ends = {CACHE: offset, BOTH: offset + 1, STOPPED: min(stop_after, offset + 1)}
    return range(ends[path])


def expected(model: Any, text: SampledText, push: Additive, stop_after: int) -> Array:
    """`[measure path offset]` of one text."""
    found = np.empty((2, len(PATHS), text.draws))
    for offset in range(text.draws):
        clean = literal(model, text, offset, range(0), push)
        both = literal(model, text, offset, range(offset + 1), push) - clean
        for path in range(len(PATHS)):
            where = steered_offsets(path, offset, stop_after)
            pushed = literal(model, text, offset, where, push)
            found[0, path, offset] = divergence(pushed[None], clean[None])[0]
            change = pushed - clean
            found[1, path, offset] = (change - change.mean()) @ (both - both.mean())
    return found


def frozen() -> FrozenSADI:
    """Looks at the prompt first, and edits nothing but its last token."""
    chosen = torch.tensor([[False, True, True, False]] * 2)
    return FrozenSADI(ElementMask(chosen, Kind.HEAD, (1, 2)), 3.0)


def effects(model: Any, texts: FixedTexts, *methods: Intervention, stop_after: int = 1) -> Tensor:
    return path_effects(model, texts, methods, stop_after)


@cache
def effects_of_pushes(model: Any) -> tuple[FixedTexts, Additive, Tensor]:
    """Texts and a push, and `[measure method path text offset]` of it and of it at strength 0."""
    texts, method = texts_of(model), push(model, size=3.0)
    return texts, method, effects(model, texts, method, method.with_strength(0), stop_after=2)


# What each path does.


def test_each_path_is_what_a_steered_or_clean_cache_gives(model: Any) -> None:
    texts, method, of_both = effects_of_pushes(model)
    found = of_both[:, 0]
    # or nothing went through the cache
    assert float(found[0, CACHE].nan_to_num().max()) > 100 * NATS
    for i, text in enumerate(texts.texts):
        kl, projected = found[:, :, i, : text.draws].numpy()
        nats, changes = expected(model, text, method, 2)
        np.testing.assert_allclose(kl, nats, atol=NATS, rtol=AGREES)
        np.testing.assert_allclose(projected, changes, atol=AGREES * changes[BOTH].min(), rtol=0)


def test_at_the_last_prompt_token_there_is_no_cache_and_the_residual_is_both(model: Any) -> None:
    _, _, found = effects_of_pushes(model)
    kl, projected = found[:, 0]
    for x in (kl, projected):
        assert bool((x[CACHE, :, 0] == 0).all())
        torch.testing.assert_close(x[RESIDUAL, :, 0], x[BOTH, :, 0], rtol=1e-5, atol=ROUNDING)
        # still steered, and the first token that is not
        options: dict[str, Any] = {"rtol": 1e-5, "atol": ROUNDING, "equal_nan": True}
        torch.testing.assert_close(x[STOPPED, :, :2], x[BOTH, :, :2], **options)
        torch.testing.assert_close(x[STOPPED, :, 2], x[CACHE, :, 2], **options)


def test_strength_0_changes_nothing_at_all(model: Any) -> None:
    texts, _, of_both = effects_of_pushes(model)
    found = of_both[:, 1]
    reached = texts.draws[:, None] > torch.arange(4)
    assert bool((found[..., reached] == 0).all())
    assert bool(found[..., ~reached].isnan().all())


def test_both_is_what_fixed_texts_cost_for_any_method(llama: Any) -> None:
    methods = push(llama), Scale(), frozen()
    texts = texts_of(llama, ended=(True, False, True, False))
    found = effects(llama, texts, *methods)[0, :, BOTH]
    costs = texts.nats(llama, [(method,) for method in methods])
    torch.testing.assert_close(found.nansum(dim=-1), costs, rtol=1e-4, atol=1e-6)
    reached = ~found[0].isnan()
    assert reached.sum(dim=1).tolist() == [5, 3, 5, 2]  # the end of a text is drawn, too


def test_a_text_has_the_same_effects_alone(llama: Any) -> None:
    texts, method = texts_of(llama), push(llama)
    together = effects(llama, texts, Scale(), method)[:, 1]
    for i, text in enumerate(texts.texts):
        alone = effects(llama, replace(texts, texts=(text,)), method)[:, 0, :, 0]
        own = together[:, :, i, : text.draws]
        torch.testing.assert_close(alone, own, rtol=1e-4, atol=1e-5)


def test_a_method_of_the_prompts_end_acts_on_what_follows_through_the_cache_alone(
    llama: Any,
) -> None:
    method = frozen()
    assert method.last_prompt_token_only
    kl, projected = effects(llama, texts_of(llama), method)[:, 0]
    for x in (kl, projected):
        later = x[:, :, 1:]
        reached = ~later[BOTH].isnan()
        assert bool((later[RESIDUAL][reached] == 0).all())
        torch.testing.assert_close(later[CACHE], later[BOTH], equal_nan=True)
        torch.testing.assert_close(later[STOPPED], later[BOTH], equal_nan=True)
    assert float(kl[BOTH, :, 1:].nan_to_num().max()) > 0


# Half-lives.


@pytest.mark.parametrize(
    ("kept", "tokens"),
    [
        ([1.0, 0.5], 1.0),
        ([1.0, 0.0], 0.5),
        ([1.0, 0.8, 0.2, 0.0], 1.5),
        ([1.0, 1.4, 0.6, 0.1, 0.9], 2.2),  # the first time it falls
        ([1.0, 0.6, 0.51], inf),
        ([1.0, 0.7, np.nan], inf),  # no text reaches the last token
        ([1.0, 0.25, np.nan], 2 / 3),
    ],
)
def test_a_half_life_is_joined_by_straight_lines(kept: list[float], tokens: float) -> None:
    assert float(half_life(np.array(kept))) == pytest.approx(tokens)


def test_without_an_effect_there_is_no_half_life() -> None:
    assert np.isnan(half_life(np.array([np.nan, 0.0, 0.0])))
    found = half_life_interval(np.zeros((3, 4)), np.zeros((3, 4)), seed=0)
    assert np.isnan([found.mean, found.low, found.high]).all()


def curves(*groups: Sequence[float]) -> tuple[Array, Array]:
    """Effects by token and group, and the first of each."""
    effect = np.array(groups).T
    return effect, np.broadcast_to(effect[0], effect.shape)


def test_a_half_life_has_the_interval_of_its_groups() -> None:
    fast, slow = [2.0, 0.5, 0.1, 0.0], [2.0, 1.8, 1.2, 0.2]
    found = half_life_interval(*curves(*[fast, slow] * 6), seed=0)
    # 2.0, 1.15, 0.65: half of it is reached after 1 + 0.15 / 0.5 tokens
    assert found.mean == pytest.approx(1.3)
    assert 2 / 3 < found.low < 1.3 < found.high < 2.2
    again = half_life_interval(*curves(*[fast, slow] * 24), seed=0)
    assert found.low < again.low < again.high < found.high
    alike = half_life_interval(*curves(*[fast] * 5), seed=0)
    assert (alike.low, alike.high) == pytest.approx((alike.mean, alike.mean))
    alone = half_life_interval(*curves(fast), seed=0)
    assert np.isnan([alone.low, alone.high]).all()


def test_percentiles_of_half_lives_are_those_of_every_resample() -> None:
    """Levels as `Resampling` widens them for eight groups."""
    source = np.random.default_rng(0)
    effect = 3.0 * np.exp(-np.arange(12)[:, None] * source.uniform(0.1, 0.9, size=8))
    first = np.broadcast_to(effect[0], effect.shape)
    found = [half_life_interval(effect, first, seed=seed) for seed in range(30)]
    sums = effect[:, source.integers(8, size=(50000, 8))].sum(axis=-1).T
    level = stats.norm.cdf(-stats.t.ppf(0.975, 7) * np.sqrt(8 / 7))
    right = np.quantile(half_life(sums / sums[:, :1]), [level, 1 - level])
    assert np.mean([x.low for x in found]) == pytest.approx(right[0], rel=0.03)
    assert np.mean([x.high for x in found]) == pytest.approx(right[1], rel=0.03)


def test_what_is_not_reached_is_infinite_and_not_the_last_token() -> None:
    falls, stays = [1.0, 0.4, 0.3], [1.0, 0.9, 0.8]
    some = half_life_interval(*curves(*[falls] * 7, *[stays] * 3), seed=0)
    assert some.mean == pytest.approx(1.5)
    assert some.low < 1.5
    assert some.high == inf
    few = half_life_interval(*curves(*[falls] * 4, *[stays] * 6), seed=0)
    assert few.mean == inf
    assert few.low < 2
    assert few.high == inf
    none = half_life_interval(*curves(*[stays] * 6), seed=0)
    assert (none.mean, none.low, none.high) == (inf, inf, inf)


# The report.


def report_of(kl: Tensor, draws: Sequence[int], **changes: Any) -> PathSplitReport:
    """One method's; `kl` and the projections are the same numbers."""
    past = torch.arange(kl.shape[-1]) >= torch.tensor(draws)[:, None]
    own = kl.double().masked_fill(past, torch.nan)[None]
    groups = tuple("abcdefgh"[: len(draws)])
    given: dict[str, Any] = {"names": ("m",), "groups": groups, "stop_after": 1, "seed": 2}
    return PathSplitReport(kl=own, projected=own, draws=torch.tensor(draws), **(given | changes))


def test_later_tokens_are_compared_with_the_same_texts_first_ones() -> None:
    kl = drawn((4, 3, 4)).abs() + 0.1
    kl[STOPPED] = torch.tensor([[9, 1, 0.6, 0.4], [9, 7, 0, 0], [9, 3, 2.8, 1.2]])
    report = report_of(kl, [4, 2, 4])
    assert report.split("m").kept(1).mean == 1
    assert report.split("m").kept(2).mean == pytest.approx(3.4 / 4)
    assert report.split("m").kept(3).mean == pytest.approx(1.6 / 4)
    assert report.split("m").half_life().mean == pytest.approx(1 + (3.4 - 2) / (3.4 - 1.6))
    [row] = report.summary().to_dict("records")
    assert row["half_life"] == report.split("m").half_life().mean
    assert (row["texts"], row["groups"], row["followed"]) == (3, 3, 2)


def test_effects_and_shares_are_of_the_texts_that_reach_an_offset() -> None:
    kl = drawn((4, 3, 4)).abs() + 0.1
    report = report_of(kl, [4, 2, 4])
    ends = kl[:, [0, 2]].double()
    right = interval(ends[BOTH, :, 3], ["a", "c"], seed=2)
    split = report.split("m")
    assert split.effect("both", 3) == right
    rest = ends[BOTH] - ends[RESIDUAL] - ends[CACHE]
    assert split.effect("interaction", 2).mean == pytest.approx(float(rest[:, 2].mean()))
    right = float(ends[CACHE, :, 2].sum() / ends[BOTH, :, 2].sum())
    assert split.share("cache", 2).mean == pytest.approx(right)
    own = [kl[i, 0, 1:].sum() + kl[i, 1, 1] + kl[i, 2, 1:].sum() for i in (CACHE, BOTH)]
    assert split.share("cache").mean == pytest.approx(float(own[0] / own[1]))


def words_of(figure: Any) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))]


@pytest.fixture(scope="module")
def report(llama: Any, pairs: ContrastivePairs) -> PathSplitReport:
    return report_of_pushes(llama, pairs)


def report_of_pushes(llama: Any, pairs: ContrastivePairs) -> PathSplitReport:
    each = {"one": push(llama, size=0.5), "two": push(llama, layer=2, size=0.5)}
    return PathSplitReport.fit(llama, pairs, each, stop_after=2, **FEW)


def test_shares_of_the_paths_add_up_to_one(report: PathSplitReport) -> None:
    for name in report.names:
        own = report.split(name)
        for offset in (None, *range(own.offsets)):
            parts = ("residual", "cache", "interaction")
            assert sum(own.share(part, offset).mean for part in parts) == pytest.approx(1)
            assert own.share("both", offset).mean == pytest.approx(1)
        assert own.share("cache", 0).mean == 0
        assert own.share("cache").mean != 0


def test_the_table_holds_what_the_report_says(report: PathSplitReport) -> None:
    table = report.table()
    assert len(table) == len(report.names) * 5 * report.kl.shape[-1]
    for row in table.to_dict("records"):
        own, at = report.split(row["method"]), (row["path"], row["offset"])
        effect, share = own.effect(*at), own.share(*at)
        assert (row["kl"], row["kl_low"], row["kl_high"]) == (effect.mean, effect.low, effect.high)
        assert (row["share"], row["share_low"]) == (share.mean, share.low)
        after = row["path"] == "stopped" and row["offset"] >= 2
        assert np.isnan(row["kept"]) != after


def test_the_figure_counts_texts_and_says_the_half_life(report: PathSplitReport) -> None:
    texts = words_of(report.figure())
    assert any("6 texts in 6 groups" in text for text in texts)
    assert sum("only the first 2 positions steered:\nhalf-life" in text for text in texts) == 2


def test_a_report_that_was_saved_has_the_same_tables(
    report: PathSplitReport, tmp_path: Path
) -> None:
    ls.save(report, tmp_path / "report.safetensors")
    again = ls.load(tmp_path / "report.safetensors")
    assert isinstance(again, PathSplitReport)
    pd.testing.assert_frame_equal(again.table(), report.table())
    pd.testing.assert_frame_equal(again.summary(), report.summary())


def test_without_its_class_a_saved_report_says_where_that_is(
    report: PathSplitReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ls.save(report, tmp_path / "report.safetensors")
    monkeypatch.delitem(TYPES, "PathSplitReport")
    with pytest.raises(ValueError, match="whose class is now in analyses.paths"):
        ls.load(tmp_path / "report.safetensors")


def test_steering_behind_the_last_block_leaves_nothing_in_the_cache(
    llama: Any, pairs: ContrastivePairs
) -> None:
    method = {"end": push(llama, layer=llama.cfg.n_layers - 1)}
    report = PathSplitReport.fit(llama, pairs, method, **FEW)
    own = report.split("end")
    assert own.share("residual").mean == pytest.approx(1)
    assert own.share("cache").mean == 0
    assert np.isnan(own.half_life().mean)
    texts = words_of(report.figure())
    assert any("unknown: nothing is left" in text for text in texts)


def test_a_half_life_beyond_the_texts_is_drawn_as_such() -> None:
    kl = torch.ones(4, 3, 4)
    texts = words_of(report_of(kl, [4, 4, 4]).figure())
    assert any("over 2 [over 2, over 2] tokens" in text for text in texts)


def test_the_same_seed_gives_the_same_report(
    llama: Any, pairs: ContrastivePairs, report: PathSplitReport, untyped: None
) -> None:
    again = report_of_pushes(llama, pairs)
    assert torch.equal(again.kl.nan_to_num(), report.kl.nan_to_num())
    assert torch.equal(again.projected.nan_to_num(), report.projected.nan_to_num())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_new_tokens": 2}, "got max_new_tokens 2 tokens, of which 1 are steered: expected 3"),
        ({"stop_after": 5}, "got max_new_tokens 5 tokens, of which 5 are steered: expected 7"),
        ({"stop_after": 0}, "stop_after 0: expected at least one"),
        ({"temperature": 0}, "greedy texts have no finite divergence"),
        ({"methods": {}}, "expected a name for each method"),
        ({"methods": {"still": 0}}, "'still' changes no next token"),
        ({"methods": {"wild": 1e39}}, "logits are NaN or infinite.*steered by Additive"),
    ],
)
def test_what_has_no_meaning_is_refused(
    change: dict[str, Any], message: str, llama: Any, pairs: ContrastivePairs
) -> None:
    given = {"methods": {"one": 1.0}, **FEW, **change}
    methods = {name: push(llama).with_strength(x) for name, x in given.pop("methods").items()}
    with pytest.raises(ValueError, match=message):
        PathSplitReport.fit(llama, pairs, methods, **given)


def test_texts_that_are_too_short_are_refused() -> None:
    with pytest.raises(ValueError, match="got a longest text of 2 tokens, of which 1 are steered"):
        report_of(torch.ones(4, 3, 2), [2, 2, 2])
    with pytest.raises(ValueError, match="expected one for each of the methods"):
        report_of(torch.ones(4, 3, 4), [4, 4, 4], groups=("a", "b"))


def test_what_a_report_does_not_have_is_refused() -> None:
    report = report_of(torch.ones(4, 3, 4), [4, 4, 4])
    with pytest.raises(ValueError, match="no method 'n' in this report"):
        report.split("n")
    with pytest.raises(ValueError, match="no path 'value': expected one of"):
        report.split("m").effect("value", 1)
    with pytest.raises(ValueError, match=r"offsets \[4\]: expected some from 0 to 3"):
        report.split("m").share("cache", 4)
    with pytest.raises(ValueError, match="offset 0 is steered: expected 1 or more"):
        report.split("m").kept(0)


@pytest.mark.slow
def test_the_embedded_model_is_steered_through_the_residual_stream(
    embedded: Any, untyped: None
) -> None:
    pairs = ContrastivePairs.load("organism:sentiment").spread(120)
    train, _, test = pairs.split(0.4, 0.5, 0.1, seed=0)
    resid = capture(embedded, train, "resid", read="mean", progress=False)
    each = {"CAA": CAA.fit(resid.at(layer=3)).with_strength(2.8)}
    some: dict[str, Any] = {"max_new_tokens": 8, "seed": 0, "progress": False}
    report = PathSplitReport.fit(embedded, test.first(12), each, **some)
    own = report.split("CAA")
    assert own.share("residual").mean > 0.9
    assert 0 < own.share("cache").low < own.share("cache").high < 0.1
    assert own.half_life().high < 2
