"""Linearity reports of blocks that were written down by hand, so that all is known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

import lens_steer as ls
from lens_steer.linearity import (
    PREDICTORS,
    BlockMaps,
    ErrorCurves,
    LinearityReport,
    LogitReport,
    PersistenceReport,
)
from lens_steer.linearity.persistence import WAYS
from lens_steer.linearity.probe import Probe
from lens_steer.models import encode, load_model
from tests.conftest import BACKENDS, HAS_HOOKED, LAYERS, WIDTH
from tests.reference import centred, present

ROUNDING = 1e-9  # of float64
SEED = 3
RADII = (0.1, 0.4, 1.5)
PAIRS = ls.ContrastivePairs.of(
    [
        ("A cat", " was sad. It was", " was very glad. It was"),
        ("Hi!", " No, it was", " Yes, it was"),
    ]
)
OTHERS = ls.ContrastivePairs.of(
    [("A dog", " was bad. It was", " was good. It was"), ("So", " it fell, it was", " up it was")]
)


# ---- planted functions for blocks ----


@dataclass(frozen=True, eq=False)
class Planted(BlockMaps):
    """Blocks that are functions of one vector, and logits that are numbers of the last."""

    functions: tuple[Callable[[Tensor], Tensor], ...] = ()

    @property
    def end(self) -> Any:
        raise ValueError("these logits have no unembedding")

    def apply(self, layer: int, z: Tensor) -> Tensor:
        return self.functions[layer](z)

    def logits(self, layer: int, z: Tensor) -> Tensor:
        for function in self.functions[layer:]:
            z = function(z)
        return z

    def jvp(self, layer: int, tangents: Tensor) -> Tensor:
        return self._pushed(self.functions[layer], layer, tangents)

    def logits_jvp(self, layer: int, tangents: Tensor) -> Tensor:
        return self._pushed(lambda z: self.logits(layer, z), layer, tangents)

    def vjp(self, layer: int, cotangents: Tensor, *, hook: str = "resid_pre") -> Tensor:  # noqa: ARG002 - as the original
        a = self._matrices(self.functions[layer], layer)
        return torch.einsum("nto,toi->nti", cotangents.to(a), a)

    def _pushed(self, f: Callable[[Tensor], Tensor], layer: int, t: Tensor) -> Tensor:
        a = self._matrices(f, layer)
        return torch.einsum("toi,nti->nto", a, t.to(a))

    def _matrices(self, f: Callable[[Tensor], Tensor], layer: int) -> Tensor:
        return torch.vmap(torch.func.jacrev(f))(self.states[:, layer])


def planted(
    model: Any,
    start: Tensor,
    functions: Sequence[Callable[[Tensor], Tensor]],
    along: Tensor,
    *,
    shift: int = 1,
) -> Probe:
    """A probe of texts that start there, the feature being `along` at every layer, of size 1."""
    states = [start]
    for function in functions:
        states.append(function(states[-1]))
    maps = Planted(model, torch.stack(states, dim=1), 2**20, (), tuple(functions))
    matrices = torch.stack([maps.matrices(layer).mean(dim=0) for layer in range(len(functions))])
    jacobians = ls.LayerJacobians.from_tensors(matrices, maps.states.mean(dim=0))
    there = along.expand(len(functions) + 1, -1).to(start)
    zero = torch.zeros_like(there)
    features = ls.FeatureDirections(there, torch.ones(len(there)).to(start), there, zero)
    groups = tuple(range(len(start)))
    return Probe(maps, jacobians, features, groups, len(start) // 2, shift, SEED)


def reported(probe: Probe, radii: Sequence[float] = RADII) -> LinearityReport:
    return LinearityReport(
        ErrorCurves.fit(probe, radii, progress=False),
        PersistenceReport.fit(probe),
        LogitReport.fit(probe, radii, progress=False),
    )


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def axis(i: int, d: int = 6) -> Tensor:
    return torch.eye(d).double()[i]


def test_a_linear_network_has_no_error_and_known_persistence(llama: Any) -> None:
    gains = (2.0, 0.5, 3.0)
    turn = torch.eye(6).double()
    angle = torch.tensor(0.3).double()
    turn[:2, :2] = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    functions = [lambda z, g=g: g * z @ turn.T for g in gains]
    report = reported(planted(llama, draw(4, 6), functions, axis(0)))
    assert float(report.curves.errors[:2].nan_to_num().max()) < ROUNDING
    assert report.trust_radius.tolist() == [RADII[-1]] * 3
    assert report.window(RADII[-1]) == (0, 1, 2)
    found = report.persistence
    torch.testing.assert_close(found.cosine[0], angle.cos().expand(3, 4))
    torch.testing.assert_close(found.cosine[1], torch.ones(3, 4).double())
    expected = angle.cos() * torch.tensor(gains).double()
    torch.testing.assert_close(found.gain[0], expected[:, None].expand(-1, 4))
    whole = float((3 * angle).cos()) * 2.0 * 0.5 * 3.0
    torch.testing.assert_close(found.transfer[3, 0], torch.full((4,), whole))
    torch.testing.assert_close(found.transfer[2, 2], torch.ones(4))
    energy = torch.tensor([(3.0 * 0.5) ** 2, 3.0**2, 1.0])
    torch.testing.assert_close(found.energy, energy[:, None].expand(-1, 4))
    torch.testing.assert_close(found.random_energy, found.energy)  # a turn and a gain: all alike
    assert bool((present(report.logits).slope[:2] - 1).abs().max() < 1e-5)
    assert bool((present(report.logits).explained[:2] - 1).abs().max() < 1e-5)
    assert present(report.logits).radius().tolist() == pytest.approx([RADII[-1]] * 3)


def test_the_shuffled_control_is_the_texts_own_other_layer(llama: Any) -> None:
    functions = [lambda z, g=g: g * z for g in (1.0, 2.0, 4.0)]
    for shift in (1, 2):
        report = reported(planted(llama, draw(4, 6), functions, axis(0), shift=shift))
        gains = (1.0, 2.0, 4.0)
        for layer, gain in enumerate(gains):
            other = gains[(layer + shift) % 3]
            errors = report.curves.errors[PREDICTORS.index("shuffled"), 0, :, layer]
            torch.testing.assert_close(errors, torch.full_like(errors, abs(other / gain - 1)))
            found = report.persistence.gain[WAYS.index("shuffled"), layer]
            torch.testing.assert_close(found, torch.full_like(found, other))
            own = 1 - 1 / gain  # relative error of the identity
            errors = report.curves.errors[PREDICTORS.index("identity"), 0, :, layer]
            torch.testing.assert_close(errors, torch.full_like(errors, own))


@pytest.mark.parametrize(
    ("bend", "gain"), [(torch.tanh, 1.0), (lambda x: torch.relu(1 - x), -1.0)], ids=["tanh", "relu"]
)
def test_the_radius_is_where_a_saturating_block_leaves_its_tangent(
    llama: Any, bend: Callable[[Tensor], Tensor], gain: float
) -> None:
    """z + 2 bend(z'u) w: known along u, with texts of one length at z'u = 0."""
    u, w = axis(0), axis(1)
    start = draw(4, 6) * (1 - u)
    start = 1.7 * start / start.norm(dim=-1, keepdim=True)
    mixing = draw(6, 6)
    straight = planted(llama, start, [lambda z: z + 0.1 * z @ mixing], u)
    bent = planted(llama, start, [lambda z: z + 2 * bend(z @ u)[..., None] * w], u)

    def error(radius: float) -> float:
        s = torch.tensor(1.7 * radius).double()
        change = 2 * (bend(s) - bend(0 * s))
        return float((change - 2 * gain * s).abs() / (s**2 + change**2).sqrt())

    radii = tuple(np.linspace(0.02, 1.5, 75).tolist())
    report = reported(bent, radii)
    # radii are float32 on their way
    np.testing.assert_allclose(report.error_at(radii[40]), [error(radii[40])], rtol=1e-6)
    crossing: Any = brentq(lambda r: error(r) - 0.1, 0.01, 1.5)
    assert float(report.trust_radius[0]) == pytest.approx(crossing, abs=2e-3)
    assert reported(straight, radii).trust_radius.tolist() == [1.5]
    assert report.window(crossing - 0.01) == (0,)
    assert report.window(1.4) == ()


def test_the_unit_of_length_is_no_matter(llama: Any) -> None:
    """phi(z) and c phi(z / c) have the same report."""
    weights = 0.5 * draw(3, 6, 6, seed=1)
    reports = []
    for c in (1.0, 50.0):
        functions = [lambda z, w=w, c=c: z + c * torch.tanh(z / c @ w) for w in weights]
        reports.append(reported(planted(llama, c * draw(4, 6), functions, axis(0))))
    one, other = reports
    torch.testing.assert_close(one.curves.errors, other.curves.errors)
    torch.testing.assert_close(one.persistence.cosine, other.persistence.cosine)
    torch.testing.assert_close(one.persistence.gain, other.persistence.gain)
    torch.testing.assert_close(present(one.logits).slope, present(other.logits).slope)
    assert float(one.curves.mean()[-1].max()) > 0.1  # there is something to agree about


def test_only_what_a_text_lacks_is_missing(llama: Any) -> None:
    """Contrasts that are 0 at the start, and a feature that is not there at one layer."""
    start = draw(2, 6).repeat(2, 1)  # both sides alike
    functions = [lambda z: z + torch.tanh(z), lambda z: z.flip(-1) * 2]
    probe = planted(llama, start, functions, axis(0))
    sizes = torch.tensor([1.0, 0.0, 1.0]).double()
    features = replace(
        probe.features, sizes=sizes, directions=probe.features.directions * sizes[:, None]
    )
    report = reported(replace(probe, features=features))
    errors = report.curves.errors
    assert errors[:, 0, :, 0].isfinite().all()
    assert errors[:, 0, :, 1].isnan().all()  # no feature
    assert errors[:, 1].isnan().all()  # no contrast where the streams are still the same
    assert errors[:, 2].isfinite().all()
    found = report.persistence
    assert found.cosine.isnan().all()  # one end or the other is missing at each layer
    assert found.gain.isnan().all()
    assert found.transfer.isfinite().all(dim=-1).tolist() == [
        [True, False, False],
        [False, False, False],
        [True, False, True],
    ]
    assert found.energy.isfinite().all()
    assert report.trust_radius.isnan().tolist() == [False, True]
    assert present(report.logits).radius().isnan().tolist() == [False, True]
    assert report.window(0.01) == (0,)
    frame = report.table()
    assert frame["error_0.3"].isna().tolist() == [False, True]
    drawn_axes = [axes for axes in report.figure().axes if axes.get_visible()]
    assert [axes.get_title() for axes in drawn_axes] == ["layer 0"]  # the other has no feature
    with pytest.raises(ValueError, match="no layer has a contrast"):
        report.curves.figure("contrast")


def test_without_any_feature_there_is_no_window(llama: Any) -> None:
    probe = planted(llama, draw(4, 6), [torch.tanh, torch.tanh], axis(0))
    none = replace(probe.features, sizes=torch.zeros(3).double())
    report = reported(replace(probe, features=none))
    assert report.window(0.1) == ()
    assert report.table()["trust_radius"].isna().tolist() == [True, True]
    left, *_ = report.persistence.figure().axes
    assert all(np.isnan(line.get_ydata()).all() for line in left.lines[:-1])  # but the line at 0
    assert all(
        len(axes.lines) <= 3 for axes in present(report.logits).figure().axes
    )  # no layer's line


# ---- planted networks of the real class ----


@pytest.fixture
def linear_transformer(model_dirs: dict[str, Path]) -> Any:
    """A HookedTransformer without norms; attention is even, and every relu is open."""
    if not HAS_HOOKED:
        pytest.skip("TransformerLens 4 has no class without norms")
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dirs["llama"])
    config = HookedTransformerConfig(
        n_layers=3,
        d_model=8,
        n_ctx=64,
        d_head=4,
        n_heads=2,
        d_mlp=12,
        act_fn="relu",
        d_vocab=len(tokenizer),
        normalization_type=None,
        device="cpu",
        dtype=torch.float64,
    )
    with torch.random.fork_rng(devices=[]):
        model: Any = HookedTransformer(config, tokenizer=tokenizer, default_padding_side="right")
    noise = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = 0.3 * torch.randn(parameter.shape, generator=noise).double()
            parameter.copy_(torch.zeros_like(drawn) if name.endswith(("W_Q", "W_K")) else drawn)
        for block in model.blocks:
            block.mlp.b_in.fill_(1e3)
            block.mlp.b_out.sub_(block.mlp.b_in @ block.mlp.W_out)
    return model.eval()


def test_a_linear_transformer_has_its_own_matrices_and_no_error(linear_transformer: Any) -> None:
    model = linear_transformer
    jacobians = ls.linearize(model, OTHERS, progress=False)
    for layer, block in enumerate(model.blocks):
        ov = torch.einsum("hdk,hke->de", block.attn.W_V, block.attn.W_O)
        lengths = [len(encode(model, e.prompt, e.continuation).ids) for e in OTHERS.desired]
        after = torch.eye(8).double() + block.mlp.W_in @ block.mlp.W_out
        each = [((torch.eye(8).double() + ov / n) @ after).T for n in lengths]
        assert jacobians.matrices is not None
        torch.testing.assert_close(jacobians.matrices[layer], torch.stack(each).mean(dim=0))
    report = ls.linearity.diagnose(model, jacobians, PAIRS, radii=RADII, progress=False)
    own, _, identity, shuffled = report.curves.errors
    assert float(own.nan_to_num().max()) < ROUNDING
    assert float(identity[2].min()) > 0.05
    assert float(shuffled[2].min()) > 0.05
    assert report.trust_radius[1:].tolist() == [RADII[-1]] * 2
    assert float((present(report.logits).slope[0] - 1).nan_to_num().abs().max()) < 1e-5
    assert float((present(report.logits).explained[0] - 1).nan_to_num().abs().max()) < 1e-5


CLOSING, WRITTEN = (3.0, 0.8, 2.5), 2.0


@pytest.fixture
def closing_transformer(linear_transformer: Any) -> Any:
    """x + relu(b - u'x) w with u'w = 0, so that u'x = 0 everywhere until the stream is moved."""
    with torch.no_grad():
        for block, at in zip(linear_transformer.blocks, CLOSING, strict=True):
            for parameter in (*block.attn.parameters(), *block.mlp.parameters()):
                parameter.zero_()
            block.mlp.W_in[:, 0], block.mlp.b_in[0] = -axis(0, 8), at
            block.mlp.W_out[0] = WRITTEN * axis(1, 8)
        for parameter in (linear_transformer.embed.W_E, linear_transformer.pos_embed.W_pos):
            parameter[:, 0] = 0.0
            parameter.mul_(2.0)
    return linear_transformer


def test_a_relu_that_closes_is_found_where_it_closes(closing_transformer: Any) -> None:
    model, along = closing_transformer, axis(0, 8).expand(4, -1)
    features = ls.FeatureDirections(along, torch.ones(4).double(), along, torch.zeros_like(along))
    jacobians = ls.linearize(model, OTHERS, progress=False)
    radii = np.linspace(0.02, 2.0, 100)
    report = ls.linearity.diagnose(
        model, jacobians, PAIRS, features=features, radii=radii.tolist(), progress=False
    )
    maps = BlockMaps.of(model, (*PAIRS.desired, *PAIRS.undesired))
    assert float(maps.states[..., 0].abs().max()) == 0.0
    lengths = maps.states.norm(dim=-1).numpy()
    for layer, at in enumerate(CLOSING):

        def error(radius: float, layer: int = layer, at: float = at) -> float:
            s = radius * lengths[:, layer]
            left = WRITTEN * np.maximum(s - at, 0.0)
            return float(np.mean(left / np.hypot(s, WRITTEN * np.minimum(s, at))))

        crossing: Any = brentq(lambda r, of=error: of(r) - 0.1, 0.01, 2.0)
        assert float(report.trust_radius[layer]) == pytest.approx(crossing, abs=5e-3)
        assert float(report.error_at(1.0)[layer]) == pytest.approx(error(1.0), abs=1e-3)
    assert report.trust_radius[1] < report.trust_radius[[0, 2]].min()
    s = radii[:, None] * lengths[:, 2]  # the last block: through it to the logits
    out = model.unembed.W_U.detach().numpy()
    pushed, written = centred(out[0]), WRITTEN * centred(out[1])
    true = s[..., None] * pushed - np.minimum(s, CLOSING[2])[..., None] * written
    predicted = pushed - written
    slope = (true @ predicted) / (s * (predicted @ predicted))
    np.testing.assert_allclose(present(report.logits).slope[0, 0, :, 2], slope, atol=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_blocks_that_write_nothing_are_the_identity(
    architecture: str, model_dirs: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source: Any = AutoModelForCausalLM.from_pretrained(model_dirs[architecture])
    with torch.no_grad():
        for name, parameter in source.named_parameters():
            if any(part in name for part in ("c_proj", "o_proj", "down_proj")):
                parameter.zero_()
    source.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(model_dirs[architecture]).save_pretrained(tmp_path)
    pairs = ls.ContrastivePairs.of(
        [("A cat was", " glad", " sad?"), ("The dog is", " good", " bad?"), ("So", " a", " b")]
    )
    for backend in BACKENDS:
        model = load_model(tmp_path, backend=backend, device="cpu")
        jacobians = ls.linearize(model, OTHERS, progress=False)
        report = ls.linearity.diagnose(model, jacobians, pairs, progress=False)
        assert jacobians.matrices is not None
        assert torch.equal(jacobians.matrices, torch.eye(WIDTH).expand(LAYERS, -1, -1))
        errors = report.curves.errors.nan_to_num()
        assert float(errors.max()) < 1e-4  # float32 at a hundredth of |z|
        assert report.trust_radius.tolist() == [report.curves.radii[-1]] * LAYERS
        found = report.persistence
        for values in (found.cosine[:3], found.gain[:3], found.energy, found.random_energy):
            torch.testing.assert_close(values, torch.ones_like(values))
        kept = found.transfer[torch.ones(LAYERS + 1, LAYERS + 1).tril().bool()]
        torch.testing.assert_close(kept, torch.ones_like(kept))
        assert found.spread is not None  # nothing over nothing
        assert bool(found.spread.isnan().all())
        [first, *_] = report.figure().axes
        assert first.get_title() == "layer 0"
        # no block does anything: a push counts as often as there are layers
        expected = float(found.sizes[-1]) / LAYERS**0.5
        assert found.least_push().mean == pytest.approx(expected)
