"""The tokens that a model's texts begin with (BOS) and end with (EOS)."""

from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from lens_steer.arguments import check_room
from lens_steer.models.protocol import SteerableModel

Ids = tuple[int, ...]
_as_published: WeakKeyDictionary[Any, Ids | None] = WeakKeyDictionary()


@dataclass(frozen=True)
class Beginning:
    """The special tokens before every text of a model, and what writes them.

    Attributes:
        ids: The tokens before the text: a BOS, rarely more (GLM writes two), or none.
        text: The same tokens as text.
        by_tokenizer: Whether the tokenizer, as it was published, writes them. False where it writes
            none and TransformerLens adds a BOS all the same (GPT-2, SmolLM2): Hugging Face's own
            tokenizer then gives one token less. None where the published tokenizer is not on this
            machine.
    """

    ids: Ids
    text: str
    by_tokenizer: bool | None

    def __str__(self) -> str:
        if not self.ids:
            return "texts begin with no special token"
        writer = {
            True: "written by the tokenizer",
            False: "put there by TransformerLens: the model's own tokenizer writes none",
            None: "written by the tokenizer in use",
        }[self.by_tokenizer]
        return f"texts begin with {self.text} {list(self.ids)}, {writer}"


def beginning(model: SteerableModel) -> Beginning:
    """What this model's texts begin with, and whether its tokenizer or TransformerLens writes it.

    The tokenizer as it was published is read from this machine, once for each model.

    Example:
        >>> print(ls.special_tokens.beginning(model))
        texts begin with <s> [1], written by the tokenizer
    """
    tokenizer, ids = tokenizer_of(model), beginning_ids(model)
    published = _published(tokenizer)
    by_tokenizer = None if published is None else published == ids
    return Beginning(ids, tokenizer.decode(list(ids)) if ids else "", by_tokenizer)


def beginning_ids(model: SteerableModel) -> Ids:
    """The tokens that every text of this model begins with; see `bos_id`."""
    tokenizer = tokenizer_of(model)
    conventional = bool(getattr(model.cfg, "default_prepend_bos", True))
    written = _written_before(tokenizer)
    if written and not conventional:
        # TransformerLens has every tokenizer that it loads write a BOS, and leaves it out again for
        # some architectures: only the tokenizer as it was published says whether that is right.
        published = _published(tokenizer)
        return written if published is None else published
    if not written and conventional and tokenizer.bos_token_id is not None:
        return (tokenizer.bos_token_id,)
    return written


def bos_id(model: SteerableModel) -> int | None:
    """The token that this model's texts begin with, or None (most Qwen and NeoX models have none).

    What the tokenizer itself writes before a text is always kept, whatever TransformerLens' config
    says (`default_prepend_bos`). Where the tokenizer writes none (GPT-2, SmolLM2), TransformerLens
    adds its BOS by default, and so does lens_steer; `beginning` says which of the two it is.
    """
    ids = beginning_ids(model)
    return ids[0] if ids else None


def eos_ids(model: SteerableModel) -> Ids:
    """The tokens that end a text: the tokenizer's, then all that the generation config names.

    Chat models end a turn with a token that only the generation config names. A HookedTransformer
    has that config if `load_model` made it; for others only the tokenizer's token is known.
    """
    config = getattr(model, "generation_config", None)
    named = getattr(config, "eos_token_id", None)
    others = [] if named is None else [named] if isinstance(named, int) else list(named)
    eos = tokenizer_of(model).eos_token_id
    return tuple(dict.fromkeys([*([] if eos is None else [eos]), *map(int, others)]))


def tokenizer_of(model: SteerableModel) -> Any:
    """The model's tokenizer.

    Raises:
        ValueError: If it has none.
    """
    if model.tokenizer is None:
        raise ValueError(
            "this model has no tokenizer, and text needs one: give the model a tokenizer"
        )
    return model.tokenizer


def _written_before(tokenizer: Any) -> Ids:
    """The tokens that a tokenizer writes before a text; those after it (an EOS) are left out."""
    encode = partial(tokenizer, "a")
    whole, bare = encode()["input_ids"], encode(add_special_tokens=False)["input_ids"]
    if not bare:  # a vocabulary without this letter
        return tuple(whole[:1]) if whole[:1] == [tokenizer.bos_token_id] else ()
    starts = range(len(whole) - len(bare) + 1)
    return next((tuple(whole[:i]) for i in starts if whole[i : i + len(bare)] == bare), ())


def _published(tokenizer: Any) -> Ids | None:
    """What a tokenizer writes as its authors published it; None if that is not on this machine."""
    if tokenizer not in _as_published:
        _as_published[tokenizer] = _read_published(tokenizer)
    return _as_published[tokenizer]


def _read_published(tokenizer: Any) -> Ids | None:
    from transformers import AutoTokenizer

    source = getattr(tokenizer, "name_or_path", "")
    if not source:
        return None
    try:
        return _written_before(AutoTokenizer.from_pretrained(source, local_files_only=True))
    except (OSError, ValueError):  # moved since, or it needs code of its own
        return None


check_room(globals())
