from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import ByteLevel, TemplateProcessing
from transformers import AutoTokenizer

from lens_steer.models import (
    Message,
    as_prompt,
    batches,
    bos_id,
    check_fits,
    decode_continuation,
    encode,
    encode_prompt,
    load_model,
    pad,
    render,
    token_texts,
)
from lens_steer.models.special_tokens import beginning
from lens_steer.steering import preview
from tests.conftest import (
    ARCHITECTURES,
    BACKENDS,
    CONTEXT,
    WITH_BOS,
    Loader,
    tokenizer_of,
    write_model,
)
from tests.interventions import push

CHAT = (Message("user", "The cat?"), Message("assistant", "Yes."), Message("user", "A dog?"))
TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
RENDERED = "[user] The cat?\n[assistant] Yes.\n[user] A dog?\n[assistant]"
BOS, EOS = 1, 2

ascii_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@pytest.fixture
def slow_llama(fresh_model: Loader) -> Any:
    """With a tokenizer that says it gives no offsets, as those written in Python do."""
    found = fresh_model("llama")
    fast = type(found.tokenizer)
    found.tokenizer.__class__ = type("Slow", (fast,), {"is_fast": False})
    return found


def test_encode_prompt_gives_the_tokens_of_the_model(model: Any) -> None:
    for text in ("The cat was very sad.", " the sun", "x", "a\n\tb  c ", "<s"):
        assert encode_prompt(model, text) == model.to_tokens(text)[0].tolist()


@given(text=ascii_text.filter(bool))
def test_encode_prompt_gives_the_tokens_of_the_model_for_any_text(llama: Any, text: str) -> None:
    if not text.startswith("<s>"):
        assert encode_prompt(llama, text) == llama.to_tokens(text)[0].tolist()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_encode_prompt_writes_one_bos_where_the_model_has_one(
    architecture: str, backend: str, load: Loader
) -> None:
    found = load(architecture, backend)
    bos = {"gpt2": EOS}.get(architecture, BOS) if architecture in WITH_BOS else None
    assert bos_id(found) == bos
    ids = encode_prompt(found, "The cat")
    assert [i for i, token in enumerate(ids) if token in (BOS, EOS)] == ([] if bos is None else [0])


@pytest.mark.parametrize("architecture", WITH_BOS)
def test_encode_prompt_does_not_double_a_bos_that_the_text_has(
    architecture: str, load: Loader
) -> None:
    found = load(architecture)
    assert encode_prompt(found, found.tokenizer.bos_token + "Hi") == encode_prompt(found, "Hi")


def test_encode_prompt_of_nothing_is_the_bos_alone(load: Loader) -> None:
    assert encode_prompt(load("llama"), "") == [BOS]
    assert encode_prompt(load("qwen2"), "") == []


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("emits_bos", [False, True], ids=["plain", "with-bos"])
def test_a_chat_goes_through_the_template_once_and_has_one_bos(
    architecture: str, backend: str, emits_bos: bool, fresh_model: Loader
) -> None:
    found = fresh_model(architecture, backend)
    has_bos = architecture in WITH_BOS
    found.tokenizer.chat_template = ("{{ bos_token }}" if emits_bos and has_bos else "") + TEMPLATE
    ids = encode_prompt(found, CHAT)
    assert ids.count(BOS) == int(has_bos)
    text = found.tokenizer.decode(ids, skip_special_tokens=True)
    assert text == RENDERED
    assert ids == encode_prompt(found, RENDERED)


TRIMMING = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | trim }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.mark.parametrize("template", [TEMPLATE, TRIMMING], ids=["plain", "trimming"])
@pytest.mark.parametrize("role", ["assistant", "model"])
def test_a_chat_that_ends_in_the_assistants_own_words_is_continued(
    template: str, role: str, fresh_model: Loader
) -> None:
    found = fresh_model("llama")
    found.tokenizer.chat_template = template
    chat = (Message("user", "The cat?"), Message(role, "It was"))
    assert render(found, chat).endswith(f"[{role}] It was")
    row = encode(found, chat, " sad.")
    assert list(row.ids[: row.prompt_length]) == encode_prompt(found, chat)
    assert found.tokenizer.decode(row.ids).endswith(f"[{role}] It was sad.")


def test_a_chat_that_its_template_refuses_says_so(fresh_model: Loader) -> None:
    found = fresh_model("llama")
    found.tokenizer.chat_template = "{{ raise_exception('no system, please') }}"
    with pytest.raises(ValueError, match=r"roles user, .* \(no system, please\): change the mes"):
        render(found, CHAT)


def test_a_role_is_a_usual_one_or_one_that_the_template_names(fresh_model: Loader) -> None:
    found = fresh_model("llama")
    found.tokenizer.chat_template = TEMPLATE
    for role in ("asistant", "User", "", "critic"):
        said = rf"of the role {role!r}, expected one of system, .* user, assistant"
        with pytest.raises(ValueError, match=said):
            render(found, (Message("user", "The cat?"), Message(role, "It was")))
    found.tokenizer.chat_template = TEMPLATE + "{% set others = ['critic'] %}"
    assert "[critic] It was" in render(found, (Message("critic", "It was"),))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("writes", [True, False], ids=["writes-bos", "names-bos"])
def test_a_bos_that_the_tokenizer_writes_is_kept_where_transformer_lens_leaves_it_out(
    writes: bool, backend: Any, tmp_path: Path
) -> None:
    """R1-Distill-Qwen writes one, Pythia only names one; TransformerLens makes both write it."""
    tokenizer = tokenizer_of("llama")
    if not writes:
        tokenizer._tokenizer.post_processor = ByteLevel(trim_offsets=False)
    tokenizer.save_pretrained(write_model("qwen2", tmp_path / "m"))
    found = load_model(tmp_path / "m", backend=backend, device="cpu")
    assert not found.cfg.default_prepend_bos
    published = AutoTokenizer.from_pretrained(tmp_path / "m")("The cat")["input_ids"]
    assert published[:1] == [BOS] or not writes
    assert encode_prompt(found, "The cat") == published
    assert bos_id(found) == (BOS if writes else None)
    assert beginning(found).by_tokenizer is True
    touched = preview(found, "The cat", push(found), scope="prompt", sink=True).relative[0]
    assert (touched == 0).tolist() == [writes, *[False] * (len(touched) - 1)]


def test_a_bos_of_transformer_lens_is_told_from_the_tokenizers_own(load: Loader) -> None:
    assert str(beginning(load("llama"))) == "texts begin with <s> [1], written by the tokenizer"
    assert "put there by TransformerLens" in str(beginning(load("gpt2")))
    assert "no special token" in str(beginning(load("qwen2")))


def test_an_end_token_that_the_tokenizer_writes_is_not_part_of_a_prompt(
    fresh_model: Loader, llama: Any
) -> None:
    found = fresh_model("llama")
    found.tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    assert found.tokenizer("Hi")["input_ids"][-1] == EOS
    assert encode_prompt(found, "The cat") == encode_prompt(llama, "The cat")
    assert encode(found, "The cat", " was") == encode(llama, "The cat", " was")


def test_every_token_that_the_tokenizer_writes_before_a_text_is_kept(fresh_model: Loader) -> None:
    found = fresh_model("llama")
    found.tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<pad> <s> $A", special_tokens=[("<s>", BOS), ("<pad>", 0)]
    )
    ids = encode_prompt(found, "The cat")
    assert ids == found.tokenizer("The cat")["input_ids"]
    assert encode_prompt(found, found.tokenizer.decode(ids)) == ids


def test_render_gives_text_as_it_is(llama: Any) -> None:
    assert render(llama, "[user] the cat ") == "[user] the cat "


def test_render_refuses_a_chat_without_a_template(llama: Any) -> None:
    with pytest.raises(ValueError, match=r"no chat template: set tokenizer\.chat_template"):
        render(llama, CHAT)


def test_a_chat_is_continued_after_the_assistants_turn_begins(fresh_model: Loader) -> None:
    found = fresh_model("llama")
    found.tokenizer.chat_template = TEMPLATE
    row = encode(found, CHAT, " No.")
    assert row.ids[: row.prompt_length] == tuple(encode_prompt(found, CHAT))
    assert found.tokenizer.decode(row.ids[row.prompt_length :]) == " No."


def test_as_prompt_takes_text_dictionaries_and_messages() -> None:
    dictionaries = [{"role": m.role, "content": m.content} for m in CHAT]
    assert as_prompt("text") == "text"
    assert as_prompt("") == ""
    assert as_prompt(dictionaries) == as_prompt(CHAT) == as_prompt(list(CHAT)) == CHAT


@pytest.mark.parametrize(
    "broken",
    [
        None,
        3,
        [],
        (),
        [1],
        ["text"],
        {"role": "user", "content": "Hi"},
        [{"role": "user"}],
        [{"content": "Hi"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    ],
)
def test_as_prompt_says_what_it_got_when_it_is_no_prompt(broken: Any) -> None:
    with pytest.raises(ValueError, match="got the (prompt|chat) .*expected"):
        as_prompt(broken)


def test_encode_splits_where_the_continuation_begins(model: Any) -> None:
    row = encode(model, "The cat", " was sad.")
    assert list(row.ids) == encode_prompt(model, "The cat was sad.")
    assert list(row.ids[: row.prompt_length]) == encode_prompt(model, "The cat")
    assert model.tokenizer.decode(row.ids[row.prompt_length :]) == " was sad."


def test_encode_gives_a_token_across_the_boundary_to_the_continuation(model: Any) -> None:
    row = encode(model, "The ", "cat was")
    assert list(row.ids) == encode_prompt(model, "The cat was")
    assert list(row.ids[: row.prompt_length]) == encode_prompt(model, "The")
    assert token_texts(model, row.ids[row.prompt_length :]) == [" cat", " was"]


def test_encode_merges_inside_a_word(model: Any) -> None:
    row = encode(model, "It w", "as the sun")
    assert list(row.ids[: row.prompt_length]) == encode_prompt(model, "It")
    assert token_texts(model, row.ids[row.prompt_length :]) == [" was", " the", " sun"]


@given(prompt=ascii_text, continuation=ascii_text.filter(str.strip))
def test_encode_keeps_every_character_and_a_prefix_of_the_prompt(
    llama: Any, prompt: str, continuation: str
) -> None:
    row = encode(llama, prompt, continuation)
    texts = token_texts(llama, row.ids)
    if (prompt + continuation).startswith("<s>"):
        return  # then the text's own BOS counts as the row's
    assert texts[0] == "<s>"
    assert "".join(texts[1:]) == prompt + continuation
    assert prompt.startswith("".join(texts[1 : row.prompt_length]))
    assert len("".join(texts[1 : row.prompt_length + 1])) > len(prompt)


@pytest.mark.parametrize(("prompt", "continuation"), [("The cat", ""), ("", ""), ("x", "é")])
def test_encode_refuses_a_continuation_without_tokens(
    bridge: Any, prompt: str, continuation: str
) -> None:
    with pytest.raises(ValueError, match=f"the continuation '{continuation}' .*empty after tok"):
        encode(bridge, prompt, continuation)


def test_encode_without_a_prompt_is_bos_and_continuation(load: Loader) -> None:
    assert encode(load("llama"), "", "the").prompt_length == 1
    assert encode(load("qwen2"), "", "the").prompt_length == 0


def test_encode_takes_a_row_that_just_fits_and_no_longer_one(model: Any) -> None:
    room = CONTEXT - (bos_id(model) is not None)
    assert len(encode(model, "x", "x" * (room - 1)).ids) == CONTEXT
    with pytest.raises(ValueError, match=rf"{CONTEXT + 1} tokens, from 'x', .*holds {CONTEXT}"):
        encode(model, "x", "x" * room)


def test_an_overflow_quotes_a_long_prompt_shortened(llama: Any) -> None:
    with pytest.raises(ValueError, match=r"500 tokens, from 'x{40} \.\.\. x{15}'"):
        check_fits(llama, 500, "x" * 400)


def test_a_slow_tokenizer_splits_at_the_same_place(slow_llama: Any, llama: Any) -> None:
    for prompt, continuation in (("The cat", " was"), ("", "the"), ("A dog.\n", "It was")):
        assert encode(slow_llama, prompt, continuation) == encode(llama, prompt, continuation)


def test_a_slow_tokenizer_refuses_to_merge_across_the_boundary(slow_llama: Any) -> None:
    with pytest.raises(ValueError, match="merges across the end of 'The '.*or use a fast tokeni"):
        encode(slow_llama, "The ", "cat")


def test_text_needs_a_tokenizer(fresh_model: Loader) -> None:
    found = fresh_model("llama")
    found.tokenizer = None
    with pytest.raises(ValueError, match="no tokenizer, and text needs one"):
        encode_prompt(found, "Hi")


rows_of_ids = st.lists(
    st.lists(st.integers(3, 119), min_size=1, max_size=9), min_size=1, max_size=6
)


@given(rows=rows_of_ids, left=st.booleans())
def test_pad_keeps_every_row_on_its_side(llama: Any, rows: list[list[int]], left: bool) -> None:
    tokens, mask = pad(llama, rows, left=left)
    width = max(map(len, rows))
    assert tokens.shape == mask.shape == (len(rows), width)
    for i, row in enumerate(rows):
        empty = width - len(row)
        assert tokens[i][mask[i]].tolist() == row
        assert mask[i].tolist() == ([False] * empty + [True] * len(row))[:: 1 if left else -1]
    assert set(tokens[~mask].tolist()) <= {llama.tokenizer.pad_token_id}


def test_pad_does_not_need_a_pad_token(fresh_model: Loader) -> None:
    found = fresh_model("llama")
    found.tokenizer.pad_token = None
    tokens, mask = pad(found, [[5, 6], [7]])
    assert tokens[mask].tolist() == [5, 6, 7]


@given(lengths=st.lists(st.integers(1, 40), max_size=30), budget=st.integers(1, 100))
def test_batches_hold_every_row_once_within_the_budget(lengths: Sequence[int], budget: int) -> None:
    found = list(batches(lengths, budget))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        assert batch
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_batches_fill_the_budget_with_rows_of_similar_length() -> None:
    assert list(batches([9, 2, 8, 1, 2, 50], 18)) == [[3, 1, 4], [2, 0], [5]]


def test_decode_continuation_gives_the_text_that_follows(model: Any) -> None:
    for text in (" was sad.", "was sad.", "\n the", "!"):
        row = encode(model, "The cat", text)
        rest = row.ids[row.prompt_length :]
        assert decode_continuation(model, row.ids[: row.prompt_length], rest) == text


def test_decode_continuation_leaves_special_tokens_out(llama: Any) -> None:
    prompt, rest = encode_prompt(llama, "The cat"), encode_prompt(llama, " was")[1:]
    assert decode_continuation(llama, prompt, [*rest, EOS, 0, 0]) == " was"


def test_decode_continuation_keeps_a_leading_space_of_a_sentencepiece_tokenizer(
    stories: Any,
) -> None:
    prompt = "Once upon a time, there was a little girl named Lily."
    row = encode(stories, prompt, " She loved to play.")
    assert list(row.ids) == stories.to_tokens(prompt + " She loved to play.")[0].tolist()
    assert list(row.ids[: row.prompt_length]) == encode_prompt(stories, prompt)
    rest = row.ids[row.prompt_length :]
    assert decode_continuation(stories, row.ids[: row.prompt_length], rest) == " She loved to play."


def test_token_texts_shows_each_token(llama: Any) -> None:
    assert token_texts(llama, encode_prompt(llama, "the sun")) == ["<s>", "t", "h", "e", " sun"]
