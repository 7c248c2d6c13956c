"""Local nats against the Fisher information, and as predictions of larger strengths."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.evaluation import FixedTexts, LocalNats, NotLocal, calibrate_along, positions_of
from lens_steer.intervals import Interval
from lens_steer.sites import Site
from lens_steer.steering import SADI, Additive, Angular, Intervention
from tests.interventions import Scale, drawn, push

LAYER = 2
DECODING = ls.Decoding(max_new_tokens=6, seed=3, temperature=0.8)
C = Interval(0.08, 0.07, 0.09)


@pytest.fixture(scope="module")
def texts(llama: Any, pairs: ls.ContrastivePairs) -> FixedTexts:
    return FixedTexts.sample(llama, pairs, decoding=DECODING)


def fisher(folder: Path, texts: FixedTexts, where: Tensor, vector: Tensor) -> float:
    """v' F v per token, by autograd in float64: Hugging Face's model, no padding."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").double()
    total, draws = 0.0, 0
    for text, steered in zip(texts.texts, where, strict=True):
        places = steered[: len(text.ids), None].double()

        def logits(s: Tensor, text: Any = text, places: Tensor = places) -> Tensor:
            def add(_: Any, __: Any, out: Any) -> Any:
                first = out[0] if isinstance(out, tuple) else out
                moved = first + s * places * vector.double()
                return (moved, *out[1:]) if isinstance(out, tuple) else moved

            hook = model.model.layers[LAYER].register_forward_hook(add)
            try:
                found = model(torch.tensor([text.ids]), use_cache=False).logits[0]
            finally:
                hook.remove()
            start = text.prompt_length - 1
            return found[start : start + text.draws] / texts.temperature

        zero, one = torch.zeros(()).double(), torch.ones(()).double()
        found: Any = torch.autograd.functional.jvp(logits, (zero,), (one,))
        at, slope = found
        p = at.softmax(dim=-1)
        mean = (p * slope).sum(dim=-1, keepdim=True)
        total += float((p * (slope - mean) ** 2).sum())
        draws += text.draws
    return total / draws


def test_local_nats_are_the_fisher_information_of_the_push(
    llama: Any, model_dirs: dict[str, Path], texts: FixedTexts
) -> None:
    method = push(llama, layer=LAYER)
    where = positions_of(llama, texts.texts, texts.scope)
    exact = fisher(model_dirs["llama"], texts, where, method.vectors[0])
    found = LocalNats.along(llama, method, texts)
    assert found.curvature.mean == pytest.approx(exact, rel=0.1)
    small, large = (2 * kl / s**2 for kl, s in zip(found.kl, found.strengths, strict=True))
    assert 2 * small - large == pytest.approx(exact, rel=0.01)  # what is odd in s has gone
    assert 1e-3 <= found.kl[1] <= 1.6e-2
    assert found.strengths[1] == pytest.approx(2 * found.strengths[0])
    assert found.curvature.low < found.curvature.mean < found.curvature.high
    assert (found.tokens, found.texts) == (int(texts.draws.sum()), len(texts.texts))


def methods_of(model: Any, pairs: ls.ContrastivePairs) -> list[Intervention]:
    resid = ls.capture(model, pairs, "resid", progress=False)
    heads = ls.attribution.contrast(ls.capture(model, pairs, "head", progress=False))
    jacobians = ls.linearize(model, pairs, progress=False)
    return [
        ls.CAA.fit(resid.at(1)),
        ls.Random.fit(resid.at(2), seed=0),
        Angular.fit(resid.at(2), angle=0.3),
        SADI(heads.top(3), 4.0),
        ls.LQR.fit(jacobians, resid),
        push(model).with_strength(-30.0),
        push(model, size=1e-5),
        push(model, size=1e4),
    ]


def test_larger_costs_are_foretold_for_methods_of_any_kind_in_any_unit(
    llama: Any, pairs: ls.ContrastivePairs, texts: FixedTexts
) -> None:
    methods, kl = methods_of(llama, pairs), 0.03
    for method, local in zip(methods, LocalNats.along_each(llama, methods, texts), strict=True):
        assert isinstance(local, LocalNats)
        strength = local.strength_at(kl)
        assert math.copysign(1, strength) == math.copysign(1, method.strength)
        assert local.kl_at(strength) == pytest.approx(kl)
        [found] = texts.kl(llama, [(method.with_strength(strength),)])
        assert found == pytest.approx(kl, rel=0.35), method


def test_many_methods_are_measured_as_each_alone(llama: Any, texts: FixedTexts) -> None:
    methods = [push(llama), push(llama, seed=1, size=3.0)]
    for method, found in zip(methods, LocalNats.along_each(llama, methods, texts), strict=True):
        alone = LocalNats.along(llama, method, texts)
        assert isinstance(found, LocalNats)
        assert found.strengths == pytest.approx(alone.strengths, rel=1e-3)
        assert found.curvature.mean == pytest.approx(alone.curvature.mean, rel=1e-3)
    assert LocalNats.along_each(llama, [], texts) == []


def test_the_unit_of_a_method_falls_out(llama: Any, texts: FixedTexts) -> None:
    one, large = (LocalNats.along(llama, push(llama, size=size), texts) for size in (1.0, 7.0))
    assert one.strength_at(0.05) == pytest.approx(7 * large.strength_at(0.05), rel=0.02)


def test_fit_samples_the_texts_itself(
    llama: Any, pairs: ls.ContrastivePairs, texts: FixedTexts
) -> None:
    found = LocalNats.fit(llama, push(llama), pairs, decoding=DECODING)
    assert found == LocalNats.along(llama, push(llama), texts)


@dataclass(frozen=True, eq=False, repr=False)
class Bent(Additive):
    """Adds its vectors `bend(strength)` times."""

    bend: Callable[[float], float] = abs

    def edits(self, model: Any) -> dict[Site, Any]:
        return Additive(self.at, self.vectors, strength=self.bend(self.strength)).edits(model)


def bent(model: Any, bend: Callable[[float], float]) -> Bent:
    return Bent((Site(1),), (drawn((model.cfg.d_model,)),), bend=bend)


def test_what_is_no_parabola_is_refused_with_both_readings(llama: Any, texts: FixedTexts) -> None:
    with pytest.raises(
        NotLocal, match=r"no parabola near strength 0: .* at .* and .* times as man"
    ):
        LocalNats.along(llama, bent(llama, lambda s: 0.05 * math.sqrt(abs(s))), texts)
    with pytest.raises(NotLocal, match="costs about 0.004 nats"):
        LocalNats.along(llama, bent(llama, lambda s: 2 + s), texts)  # a jump at strength 0
    with pytest.raises(NotLocal, match="costs about 0.004 nats per token: 0 at strength"):
        LocalNats.along(llama, Scale(factor=1.0), texts)
    found = LocalNats.along_each(llama, [Scale(factor=1.0), push(llama)], texts)
    assert [type(one) for one in found] == [NotLocal, LocalNats]


@pytest.mark.parametrize(
    ("strengths", "kl"),
    [((1, 0.5), (0.001, 0.004)), ((0, 1), (0.001, 0.004)), ((-1, 2), (0.001, 0.004))]
    + [((0.5, 1), (0.0, 0.004)), ((0.5, 1), (math.nan, 0.004)), ((0.5, math.inf), (0.1, 0.2))],
)
def test_readings_that_make_no_sense_are_refused(strengths: Any, kl: Any) -> None:
    with pytest.raises(ValueError, match="expected two"):
        LocalNats(
            cast(Any, tuple(map(float, strengths))), cast(Any, tuple(map(float, kl))), C, 8, 2
        )


def test_local_nats_are_saved(tmp_path: Path) -> None:
    local = LocalNats((0.5, 1.0), (0.01, 0.04), C, 8, 2)
    ls.save(local, tmp_path / "local.safetensors")
    assert ls.load(tmp_path / "local.safetensors") == local


# Calibration starts from them.


def scanned(model: Any, method: Intervention, texts: FixedTexts, kl: float) -> Any:
    grid = [method.strength * m for m in (0, 0.06, 0.12, 0.25, 0.5, 1, 2, 4, 8)]
    return calibrate_along(model, method, texts, kl=kl, strengths=grid, progress=False)


@pytest.mark.parametrize("name", ["push", "Scale", "Angular"])
def test_local_nats_lead_where_a_scan_does_with_fewer_strengths(
    llama: Any, pairs: ls.ContrastivePairs, texts: FixedTexts, name: str
) -> None:
    angular = Angular.fit(ls.capture(llama, pairs, "resid", progress=False).at(2), angle=0.3)
    method = {"push": push(llama), "Scale": Scale(), "Angular": angular}[name]
    found = calibrate_along(llama, method, texts, kl=0.05, progress=False)
    other = scanned(llama, method, texts, 0.05)
    assert found.strength == pytest.approx(other.strength, rel=2e-3)
    assert found.report.realised == pytest.approx(0.05, rel=2e-3)
    assert len(found.report.strengths) <= 10
    assert found.report.predicted == pytest.approx(found.strength, rel=0.3)
    assert found.report.scanned_because == ""


def test_an_own_strength_far_from_the_target_costs_no_scan(llama: Any, texts: FixedTexts) -> None:
    for size in (1e-4, 1e4):
        method = push(llama, size=size)
        found = calibrate_along(llama, method, texts, kl=0.05, progress=False)
        assert found.report.realised == pytest.approx(0.05, rel=2e-3)
        assert len(found.report.strengths) <= 10


@pytest.mark.parametrize(
    ("own", "bend", "because"),
    [
        (0.5, lambda s: math.sqrt(abs(s)), "no parabola"),
        (0.2, lambda s: 0.3 * math.tanh(3 * s) + 0.05 * s, "where local nats foretell"),
    ],
)
def test_what_local_nats_do_not_foretell_is_scanned_and_the_report_says_why(
    llama: Any, texts: FixedTexts, own: float, bend: Callable[[float], float], because: str
) -> None:
    method = bent(llama, bend).with_strength(own)
    [kl] = texts.kl(llama, [(method.with_strength(3.9),)])
    found = calibrate_along(llama, method, texts, kl=kl, progress=False)
    assert found.report.realised == pytest.approx(kl, rel=2e-3)
    assert because in found.report.scanned_because
    with pytest.raises(ls.evaluation.OutOfReach, match="is not reached: between strength 0 and"):
        calibrate_along(llama, method, texts, kl=50 * kl, progress=False)


def test_the_first_of_several_crossings_is_taken(llama: Any, texts: FixedTexts) -> None:
    method = bent(llama, lambda s: 0.4 * math.sin(3 * s))  # rises, falls to 0, rises again
    [top] = texts.kl(llama, [(method.with_strength(math.pi / 6),)])
    found = calibrate_along(llama, method, texts, kl=0.9 * top, progress=False)
    assert 0 < found.strength < math.pi / 6
    assert found.report.realised == pytest.approx(0.9 * top, rel=2e-3)
