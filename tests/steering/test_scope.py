"""Scopes as pure arithmetic, against their definition token by token."""

from inspect import unwrap
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lens_steer.steering import WithSinks, absolute_positions, check_scope, steered_positions
from tests.interventions import brute_force

scopes = st.one_of(
    st.sampled_from(["last", "prompt", "generated", "all"]),
    st.lists(st.integers(0, 12), min_size=1, max_size=4).map(tuple),
)


@st.composite
def rectangles(draw: st.DrawFn) -> list[list[bool]]:
    """Rows with padding on the left, on the right, on both sides, or none."""
    width = draw(st.integers(1, 10))
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        length = draw(st.integers(0, width))
        before = draw(st.integers(0, width - length))
        rows.append([before <= i < before + length for i in range(width)])
    return rows


def positions_by_hand(row: list[bool]) -> list[int]:
    found, seen = [], 0
    for real in row:
        found.append(seen if real else -1)
        seen += real
    return found


@given(rectangles(), st.data())
def test_positions_count_real_tokens_from_zero_and_are_minus_one_at_padding(
    real: list[list[bool]], data: st.DataObject
) -> None:
    chunk = data.draw(st.integers(1, len(real[0])))
    found = absolute_positions(torch.tensor(real), chunk)
    by_hand = [positions_by_hand(row)[len(row) - chunk :] for row in real]
    assert found.tolist() == by_hand


def test_a_row_with_padding_in_its_middle_keeps_counting_its_real_tokens() -> None:
    """As after a right-padded prompt in a cache: the next tokens come behind the padding."""
    real = torch.tensor([[True, True, False, False, True, True]])
    assert absolute_positions(real, 6).tolist() == [[0, 1, -1, -1, 2, 3]]
    assert absolute_positions(real, 2).tolist() == [[2, 3]]


@given(rectangles(), scopes, st.data())
def test_every_scope_agrees_with_its_definition_token_by_token(
    real: list[list[bool]], scope: Any, data: st.DataObject
) -> None:
    chunk = data.draw(st.integers(1, len(real[0])))
    lengths = [data.draw(st.integers(0, 12)) for _ in real]
    with_bos = [data.draw(st.booleans()) for _ in real]
    found = steered_positions(
        scope,
        absolute_positions(torch.tensor(real), chunk),
        torch.tensor(lengths),
        torch.tensor(with_bos),
    )
    by_hand = [
        brute_force(scope, row, chunk, length, bos)
        for row, length, bos in zip(real, lengths, with_bos, strict=True)
    ]
    assert found.tolist() == by_hand


@given(rectangles(), st.sampled_from(["last", "prompt", "generated", "all", (0, 3)]), st.data())
def test_prompt_and_all_leave_sinks_out_and_no_other_scope_does(
    real: list[list[bool]], scope: Any, data: st.DataObject
) -> None:
    chunk, width = data.draw(st.integers(1, len(real[0]))), data.draw(st.integers(1, 12))
    lengths = [data.draw(st.integers(0, 12)) for _ in real]
    sinks = [data.draw(st.lists(st.booleans(), min_size=width, max_size=width)) for _ in real]
    given_to = (
        absolute_positions(torch.tensor(real), chunk),
        torch.tensor(lengths),
        torch.zeros(len(real), dtype=torch.bool),
        torch.tensor(sinks),
    )
    by_hand = [
        brute_force(scope, row, chunk, length, False, [i for i, sink in enumerate(out) if sink])
        for row, length, out in zip(real, lengths, sinks, strict=True)
    ]
    assert steered_positions(scope, *given_to).tolist() == by_hand
    kept = steered_positions(WithSinks(scope), *given_to)
    assert torch.equal(kept, steered_positions(scope, *given_to[:3]))


@given(st.integers(1, 6), st.integers(0, 6), scopes, st.booleans(), st.data())
def test_a_row_read_in_chunks_is_steered_where_it_is_when_read_at_once(
    prompt: int, generated: int, scope: Any, bos: bool, data: st.DataObject
) -> None:
    total = prompt + generated
    left = data.draw(st.integers(0, 3))
    real = torch.tensor([[False] * left + [True] * total])
    length, starts = torch.tensor([prompt]), torch.tensor([bos])
    whole = steered_positions(scope, absolute_positions(real, left + total), length, starts)
    cut = data.draw(st.integers(left + 1, left + total))
    parts = [real[:, :cut], real] if cut < left + total else [real]
    chunks = [cut, left + total - cut] if cut < left + total else [left + total]
    pieces = [
        steered_positions(scope, absolute_positions(part, chunk), length, starts)
        for part, chunk in zip(parts, chunks, strict=True)
    ]
    assert torch.equal(torch.cat(pieces, dim=1), whole)


@given(rectangles(), scopes, st.data())
def test_padding_is_never_steered_and_its_side_does_not_matter(
    real: list[list[bool]], scope: Any, data: st.DataObject
) -> None:
    width = len(real[0])
    lengths = torch.tensor([data.draw(st.integers(0, 12)) for _ in real])
    bos = torch.tensor([data.draw(st.booleans()) for _ in real])
    found = []
    for side in ("left", "right"):
        counts = [sum(row) for row in real]
        moved = torch.tensor(
            [
                [i >= width - n for i in range(width)]
                if side == "left"
                else [i < n for i in range(width)]
                for n in counts
            ]
        )
        chosen = steered_positions(scope, absolute_positions(moved, width), lengths, bos)
        assert not bool((chosen & ~moved).any())
        found.append([row[mask].tolist() for row, mask in zip(chosen, moved, strict=True)])
    assert found[0] == found[1]


@given(rectangles(), st.data())
def test_prompt_and_generated_share_no_position_and_make_all_but_the_first_token(
    real: list[list[bool]], data: st.DataObject
) -> None:
    positions = absolute_positions(torch.tensor(real), len(real[0]))
    lengths = torch.tensor([data.draw(st.integers(1, 12)) for _ in real])
    bos = torch.ones(len(real), dtype=torch.bool)

    def at(scope: Any) -> torch.Tensor:
        return steered_positions(scope, positions, lengths, bos)

    assert not bool((at("prompt") & at("generated")).any())
    assert torch.equal(at("prompt") | at("generated"), at("all") & (positions > 0))
    assert torch.equal(at("last"), at("generated") | (positions == lengths[:, None] - 1))


def test_explicit_positions_may_come_as_any_sequence_and_twice() -> None:
    assert check_scope([3, 0, 3]) == (3, 0, 3)
    assert check_scope(range(2)) == (0, 1)
    assert check_scope("prompt") == "prompt"


@pytest.mark.parametrize("wrong", ["first", "", "Last", (), [], (-1,), (0, -2), (0.5,), ("a",)])
def test_a_scope_that_is_none_is_refused_and_named(wrong: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        unwrap(check_scope)(wrong)  # without the tests' type checker, as users have it
