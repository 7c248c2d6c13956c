"""Ways in which a file comes to be broken, drawn from a seed."""

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

# What is put in the place of a value: wrong types, numbers beyond any range, odd texts.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, 1e-320),
    *(float("nan"), float("inf"), "", " ", "x", "NaN", "desired", "\ud800", "\x00", "\u202e\u0301"),
    *("x" * 100_000, "../../etc", [], {}, [[]], [None], {"": ""}, ["a", "b"], [1, "a", None]),
    *({"type": "CAA"}, {"tensor": "vectors.0"}, {"map": 3}, {"entries": [[1]]}, {"fields": []}),
)
_DEPTHS = (10, 990, 5000, 100_000)
_ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp037", "utf-7")


def broken(data: bytes, draw: Random) -> bytes:
    """The bytes of a file after one to three accidents."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        data = draw.choice(_ACCIDENTS)(data, draw)
    return data


def _flipped(data: bytes, draw: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 3, 50))):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut_short(data: bytes, draw: Random) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _beheaded(data: bytes, draw: Random) -> bytes:
    return data[draw.randrange(len(data) + 1) :]


def _with_a_hole(data: bytes, draw: Random) -> bytes:
    first, last = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    return data[:first] + bytes(last - first) + data[last:]


def _with_more(data: bytes, draw: Random) -> bytes:
    at = draw.randrange(len(data) + 1)
    extra = draw.choice(
        (b"\x00", b"\xff\xfe", b'"', b",", b"[", b"}", b"\r", b"\n", b"\xed\xa0\x80")
    )
    return data[:at] + extra * draw.choice((1, 2, 1000)) + data[at:]


def _lines_shuffled(data: bytes, draw: Random) -> bytes:
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(4):
        case 0:
            lines.insert(at, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            lines[at] = lines[at].rstrip(b"\r\n")
    return b"".join(lines)


def _in_another_encoding(data: bytes, draw: Random) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(draw.choice(_ENCODINGS), "replace")


def _nested(data: bytes, draw: Random) -> bytes:
    opening, closing = draw.choice(((b"[", b"]"), (b'{"a":', b"}")))
    depth = draw.choice(_DEPTHS)
    return opening * depth + data + closing * depth


_ACCIDENTS: tuple[Callable[[bytes, Random], bytes], ...] = (
    *(_flipped, _flipped, _cut_short, _beheaded, _with_a_hole, _with_more),
    *(_lines_shuffled, _lines_shuffled, _in_another_encoding, _nested),
)


def changed(document: Any, draw: Random) -> Any:
    """A copy of a JSON document in which a value or a key somewhere is another one."""
    whole = [deepcopy(document)]
    for _ in range(draw.choice((1, 1, 2))):
        _change_somewhere(whole, draw)
    return whole[0]


def _change_somewhere(whole: list[Any], draw: Random) -> None:
    places: list[tuple[Any, Any]] = []
    _collect(whole, places)
    holder, key = draw.choice(places)
    value = holder[key]
    match draw.randrange(6):
        case 0 if isinstance(holder, dict):
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[draw.choice(["", "type", "fields", "x", f"{key} "])] = holder.pop(key)
        case 2 if isinstance(holder, list) and holder is not whole:
            holder.insert(key, value)
        case 3 if isinstance(value, int | float) and not isinstance(value, bool):
            holder[key] = draw.choice((-value, value + 1, value * 1000, str(value), [value], 0))
        case 4:
            other, name = draw.choice(places)
            holder[key] = deepcopy(other[name])
        case _:
            holder[key] = deepcopy(draw.choice(VALUES))


def _collect(holder: Any, places: list[tuple[Any, Any]]) -> None:
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    for key in keys:
        places.append((holder, key))
        if isinstance(holder[key], dict | list):
            _collect(holder[key], places)


def as_json(document: Any) -> bytes:
    """JSON as Python writes it, NaN and half surrogate pairs included."""
    return json.dumps(document).encode()
