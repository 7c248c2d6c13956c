"""What a whole activation carries: 100 % where it must be, hooks by hand, verdicts, bad input."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lens_steer.activations import capture
from lens_steer.artifacts import load as load_artifact
from lens_steer.artifacts import save
from lens_steer.data import ContrastivePairs
from lens_steer.diagnostics import Interchange, Probe, interchange
from lens_steer.models import encode
from lens_steer.sites import Site
from lens_steer.steering import CAA, Additive, steered
from tests.interventions import push

PROBE = Probe(".", " happy", " sad")  # one token each, as the words of SENTENCES are
SENTENCES = ContrastivePairs.of(
    [
        ("the film.", " it was quite superb", " it was quite terrible", "film"),
        ("the book.", " it was superb", " it was horrid", "book"),
        ("the staff.", " it was quite brilliant", " it was quite terrible", "staff"),
        ("the report.", " it was good", " it was horrid", "report"),
    ],
    name="sentences",
)
UNPAIRED = ContrastivePairs.unpaired(["it was good"], ["it was bad"])


def exchanged(model: Any, pairs: ContrastivePairs = SENTENCES, **options: Any) -> Interchange:
    return interchange(model, pairs, PROBE, **{"progress": False, **options})


def answer_margin(model: Any, pair: int, side: str, hooks: Any = ()) -> float:
    """log p(desired answer) - log p(undesired) of one-token answers, by one plain pass."""
    example = getattr(SENTENCES, side)[pair]
    text = example.prompt + example.continuation + PROBE.text
    yes, no = (encode(model, text, answer) for answer in (PROBE.desired, PROBE.undesired))
    with torch.no_grad(), model.hooks(fwd_hooks=list(hooks)):
        logits = model(torch.tensor([yes.ids[:-1]]))[0, -1].double().log_softmax(dim=-1)
    return float(logits[yes.ids[-1]] - logits[no.ids[-1]])


def test_the_last_layer_carries_everything_at_the_last_token(embedded: Any) -> None:
    last = embedded.cfg.n_layers - 1
    found = exchanged(embedded, layers=[last])
    torch.testing.assert_close(found.moved[0, 0], found.gap, atol=1e-4, rtol=0)
    assert found.carried(last, 1).mean == pytest.approx(1, abs=1e-3)


def test_all_tokens_that_differ_carry_everything_at_every_layer(embedded: Any) -> None:
    """What is before them is the same in both texts, which have as many tokens."""
    found = exchanged(embedded, tokens=(3,))  # the last word, the full stop and one before them
    expected = found.gap.expand(len(found.layers), -1)
    torch.testing.assert_close(found.moved[:, 0], expected, atol=1e-4, rtol=0)


def test_gap_and_exchange_are_what_hooks_of_transformer_lens_measure(embedded: Any) -> None:
    found = exchanged(embedded, layers=[1, 3], tokens=(1, 2))
    for pair in range(len(SENTENCES)):
        kept: list[Tensor] = []

        def keep(x: Tensor, hook: Any, kept: list[Tensor] = kept) -> None:
            kept.append(x.clone())

        def put(x: Tensor, hook: Any, kept: list[Tensor] = kept) -> Tensor:
            return torch.cat([x[:, :-2], kept[0][:, -2:]], dim=1)

        name = "blocks.3.hook_resid_post"
        donated = answer_margin(embedded, pair, "desired", [(name, keep)])
        clean = answer_margin(embedded, pair, "undesired")
        moved = answer_margin(embedded, pair, "undesired", [(name, put)]) - clean
        assert float(found.gap[pair]) == pytest.approx(donated - clean, abs=1e-4)
        assert float(found.moved[1, 1, pair]) == pytest.approx(moved, abs=1e-4)


def test_a_method_steers_the_undesired_text_at_the_exchanged_token(embedded: Any) -> None:
    method = push(embedded, layer=2, size=5.0)
    found = exchanged(embedded, methods={"push": method}, layers=[4])
    assert found.layers == (2, 4)
    assert found.method_layers == (2,)
    with steered(embedded, method):  # the plain pass holds the prompt alone
        steered_margin = answer_margin(embedded, 1, "undesired")
    change = steered_margin - answer_margin(embedded, 1, "undesired")
    assert float(found.pushed[0, 1]) == pytest.approx(change, abs=1e-4)


def test_a_method_that_makes_the_donor_s_activation_moves_as_much(embedded: Any) -> None:
    """One pair's own difference as a vector is the exchange of its last token."""
    two = ContrastivePairs(SENTENCES.desired[:1] * 2, SENTENCES.undesired[:1] * 2)
    two = ContrastivePairs(
        tuple(replace(e, group=str(i)) for i, e in enumerate(two.desired)),
        tuple(replace(e, group=str(i)) for i, e in enumerate(two.undesired)),
    )
    kept: list[Tensor] = []

    def keep(x: Tensor, hook: Any) -> None:
        kept.append(x[0, -1])

    for side in ("desired", "undesired"):
        answer_margin(embedded, 0, side, [("blocks.2.hook_resid_post", keep)])
    method = Additive((Site(2),), (kept[0] - kept[1],))
    found = exchanged(embedded, two, methods={"own": method}, layers=[2])
    torch.testing.assert_close(found.pushed[0], found.moved[0, 0], atol=1e-4, rtol=0)
    assert found.verdict("own") == "carried and pushed"


@pytest.mark.parametrize(
    ("carried", "pushed", "expected"),
    [
        ([0.9, 1.1, 1.0, 0.8], [0.5, 0.6, 0.4, 0.5], "carried and pushed"),
        ([0.9, 1.1, 1.0, 0.8], [-0.2, 0.2, -0.1, 0.1], "carried, badly pushed"),
        ([-0.1, 0.1, 0.05, -0.05], [0.01, -0.02, 0.0, 0.01], "not carried here"),
        ([-0.1, 0.1, 0.05, -0.05], [0.5, 0.6, 0.4, 0.5], "pushed, not carried"),
        ([0.04, 0.05, 0.06, 0.05], [0.03, 0.04, 0.03, 0.02], "not carried here"),  # surely little
        ([0.02, 0.16, 0.12, 0.06], [0.5, 0.6, 0.4, 0.5], "open"),  # about as much as counts
        ([3.0, -1.5, 0.1, -0.1], [0.5, 0.6, 0.4, 0.5], "open"),  # much, and unsurely
    ],
)
def test_verdicts(carried: list[float], pushed: list[float], expected: str) -> None:
    groups, gap = ("a", "b", "c", "d"), torch.ones(4).double()
    moved = torch.tensor([[carried]]).double()
    found = Interchange(
        (5,), (1,), moved, gap, ("m",), (5,), torch.tensor([pushed]).double(), 0.1, groups, 0
    )
    assert found.verdict("m") == expected
    assert found.methods()["verdict"].tolist() == [expected]
    assert found.carried(5, 1).mean == pytest.approx(sum(carried) / 4)


def test_the_report_is_saved_and_shown(embedded: Any, tmp_path: Path) -> None:
    found = exchanged(embedded, methods={"push": push(embedded)}, layers=[1, 5], tokens=(1, 2))
    save(found, tmp_path / "carried.safetensors")
    assert repr(load_artifact(tmp_path / "carried.safetensors")) == repr(found)
    assert len(found.table()) == 4
    assert len(found.methods()) == 2
    [axes] = found.figure().axes
    assert "% of the gap" in axes.get_ylabel()


def test_bad_input_is_refused(embedded: Any, llama: Any) -> None:
    of_llama = CAA.fit(capture(llama, SENTENCES, "resid", progress=False).at(layer=1))
    with pytest.raises(ValueError, match="model"):
        exchanged(embedded, methods={"CAA": of_llama})
    with pytest.raises(ValueError, match="both continuations"):
        exchanged(embedded, UNPAIRED)
    with pytest.raises(ValueError, match="layer 9"):
        exchanged(embedded, layers=[9])
    with pytest.raises(ValueError, match="7"):
        exchanged(embedded, methods={"narrow": Additive((Site(1),), (torch.ones(7),))})
    with pytest.raises(ValueError, match="expected at least the 50"):
        exchanged(embedded, tokens=(50,))
    with pytest.raises(ValueError, match="numbers of tokens"):
        exchanged(embedded, tokens=(0,))
    with pytest.raises(ValueError, match="does not tell the texts apart"):
        interchange(embedded, SENTENCES, Probe(".", " sad", " happy"), progress=False)
    with pytest.raises(ValueError, match="two different"):
        Probe("", " good", " good")
    with steered(embedded, push(embedded)), pytest.raises(ValueError, match="outside the block"):
        exchanged(embedded)
    found = exchanged(embedded, layers=[1])
    with pytest.raises(ValueError, match="were not exchanged"):
        found.carried(2, 1)
    with pytest.raises(ValueError, match="no method"):
        found.verdict("CAA")
