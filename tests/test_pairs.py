import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lens_steer.pairs import ContrastivePairs, Example
from lens_steer.tokens import Message
from tests.reference import components

ROW = ("The cat", " was sad.", " was glad.")


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def jsonl(path: Path, *rows: Any) -> Path:
    return write(path / "pairs.jsonl", *(json.dumps(row) for row in rows))


def rows_of(pairs: ContrastivePairs) -> list[tuple[Any, str, str, str]]:
    return [
        (d.prompt, d.continuation, u.continuation, d.group)
        for d, u in zip(pairs.desired, pairs.undesired, strict=True)
    ]


def test_of_takes_triples_quadruples_and_couples() -> None:
    pairs = ContrastivePairs.of([ROW, (*ROW, "cats"), (" yes", " no")], name="mine")
    assert rows_of(pairs) == [(*ROW, ""), (*ROW, "cats"), ("", " yes", " no", "")]
    assert (len(pairs), pairs.paired, pairs.name) == (3, True, "mine")


def test_of_takes_lists_and_any_iterable() -> None:
    assert rows_of(ContrastivePairs.of(iter([list(ROW)]))) == [(*ROW, "")]
    assert rows_of(ContrastivePairs.load([ROW])) == [(*ROW, "")]


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("text", "row 1: got 'text', expected"),
        (("only one",), "row 1: got"),
        ((*ROW, "group", "more"), "row 1: got"),
        (None, "row 1: got None"),
        (("The cat", "", " was"), "row 1: got the continuation ''"),
        (("The cat", " ", " was"), "row 1: got the continuation ' '"),
        (("The cat", None, " was"), "row 1: got the continuation None"),
        (("The cat", " was", " was", 3), "row 1: got the group 3, expected text"),
        ((3, " was", " is"), "row 1: got the prompt 3"),
        (("The cat", " was", " was"), "pair 1 has ' was' on both sides"),
    ],
)
def test_of_names_the_row_that_is_broken(row: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ContrastivePairs.of([ROW, row])


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("row", "reason"),
    [((0, " was", " is"), "row 0: got the prompt 0"), ((*ROW, 0), "row 0: got the group 0")],
)
def test_of_does_not_take_zero_for_nothing(row: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ContrastivePairs.of([row])


def test_of_refuses_no_rows_at_all() -> None:
    with pytest.raises(ValueError, match="got 0 desired and 0 undesired examples"):
        ContrastivePairs.of([])


def test_unpaired_takes_sides_of_different_size() -> None:
    pairs = ContrastivePairs.unpaired(["a", "b", "c"], ["d"], name="texts")
    assert [len(pairs.desired), len(pairs.undesired), len(pairs)] == [3, 1, 4]
    assert not pairs.paired
    assert repr(pairs) == "ContrastivePairs(texts: 3 desired, 1 undesired, unpaired)"


@pytest.mark.parametrize("sides", [([], ["a"]), (["a"], [])])
def test_unpaired_refuses_an_empty_side(sides: tuple[list[str], list[str]]) -> None:
    with pytest.raises(ValueError, match="expected at least one of either"):
        ContrastivePairs.unpaired(*sides)


def test_pairs_of_different_counts_or_prompts_are_refused() -> None:
    a, b, c = Example("x", " a"), Example("x", " b"), Example("y", " c")
    with pytest.raises(ValueError, match=r"2 desired and 1 undesired.*pass paired=False"):
        ContrastivePairs((a, b), (c,))
    with pytest.raises(ValueError, match="pair 0 has two prompts"):
        ContrastivePairs((a,), (c,))
    assert len(ContrastivePairs((a, b), (c,), paired=False)) == 3


def test_prompts_are_listed_once_in_order() -> None:
    pairs = ContrastivePairs.of([("b", " 1", " 2"), ("a", " 1", " 2"), ("b", " 3", " 4")])
    assert pairs.prompts == ("b", "a")


def test_load_reads_lines_of_json(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        {"prompt": "The cat", "desired": " was sad.", "undesired": " was glad."},
        {"prompt": "é ☃", "desired": " a\n", "undesired": " b", "group": "g", "note": 3},
        {"desired": " yes", "undesired": " no"},
    )
    pairs = ContrastivePairs.load(path)
    assert rows_of(pairs) == [(*ROW, ""), ("é ☃", " a\n", " b", "g"), ("", " yes", " no", "")]
    assert pairs.name == "pairs"
    assert ContrastivePairs.load(str(path)) == pairs


def test_load_passes_over_blank_lines_and_counts_them(tmp_path: Path) -> None:
    good = json.dumps({"desired": " yes", "undesired": " no"})
    path = write(tmp_path / "pairs.jsonl", "", good, "  ", "{broken")
    with pytest.raises(ValueError, match=r"pairs\.jsonl line 4: not JSON"):
        ContrastivePairs.load(path)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"desired": " a"}, r"no undesired in \['desired'\]"),
        ({"prompt": "x"}, "no desired and no undesired in"),
        ({"desired": " a", "undesired": ""}, "got the continuation ''"),
        ({"desired": " a", "undesired": 3}, "got the continuation 3"),
        ([1, 2], "expected an object"),
        ("text", "expected an object"),
        ({"text": "a", "label": "good"}, "got the label 'good', expected 'desired' or 'undesired'"),
        ({"label": "desired"}, "got the continuation None"),
        ({"messages": [{"role": "user"}], "desired": " a", "undesired": " b"}, "got the prompt"),
    ],
)
def test_load_names_the_line_of_json_that_is_broken(tmp_path: Path, row: Any, reason: str) -> None:
    path = jsonl(tmp_path, {"desired": " yes", "undesired": " no"}, row)
    with pytest.raises(ValueError, match=rf"pairs\.jsonl line 2: .*{reason}"):
        ContrastivePairs.load(path)


def test_load_refuses_bytes_that_are_no_text(tmp_path: Path) -> None:
    good = b'{"desired": " a", "undesired": " b"}\n'
    (tmp_path / "pairs.jsonl").write_bytes(good + b'{"desired": "\xff", "undesired": " b"}\n')
    with pytest.raises(ValueError, match=r"pairs\.jsonl line 2: not JSON"):
        ContrastivePairs.load(tmp_path / "pairs.jsonl")
    (tmp_path / "pairs.csv").write_bytes(b"desired,undesired\n\xff,b\n")
    with pytest.raises(ValueError, match=r"pairs\.csv.*not UTF-8"):
        ContrastivePairs.load(tmp_path / "pairs.csv")


def test_load_reads_chats(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Hi"}]
    path = jsonl(tmp_path, {"messages": chat, "desired": " Hello", "undesired": " Bye"})
    assert ContrastivePairs.load(path).prompts == ((Message("user", "Hi"),),)


def test_load_reads_texts_with_labels(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        {"text": "a", "label": "desired"},
        {"text": "b", "label": "undesired", "group": "g"},
        {"prompt": "p", "text": " c", "label": "desired"},
    )
    pairs = ContrastivePairs.load(path)
    assert not pairs.paired
    assert pairs.desired == (Example("", "a"), Example("p", " c"))
    assert pairs.undesired == (Example("", "b", "g"),)


def test_load_refuses_a_file_of_two_forms(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path, {"text": "a", "label": "desired"}, {"desired": " yes", "undesired": " no"}
    )
    with pytest.raises(ValueError, match="mixes rows with 'desired' and rows with 'label'"):
        ContrastivePairs.load(path)


def test_load_refuses_an_empty_file(tmp_path: Path) -> None:
    for name in ("pairs.jsonl", "pairs.csv"):
        with pytest.raises(ValueError, match="got 0 desired"):
            ContrastivePairs.load(write(tmp_path / name))


CSV = ("prompt,desired,undesired,group", "The cat, was sad., was glad.,", '"a,\nb", yes, no,g')


def test_load_reads_comma_separated_values(tmp_path: Path) -> None:
    pairs = ContrastivePairs.load(write(tmp_path / "mood.csv", *CSV))
    assert rows_of(pairs) == [(*ROW, ""), ("a,\nb", " yes", " no", "g")]
    assert pairs.name == "mood"


def test_load_reads_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(CSV).encode())
    assert rows_of(ContrastivePairs.load(path))[0] == (*ROW, "")


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0c", "\x1e"])
def test_load_takes_only_line_ends_for_line_ends(tmp_path: Path, separator: str) -> None:
    text = f"The cat{separator}sat"
    path = write(tmp_path / "pairs.csv", CSV[0], f"{text}, was sad., was glad.,")
    assert ContrastivePairs.load(path).prompts == (text,)
    row = {"prompt": text, "desired": " a", "undesired": " b"}
    lines = write(tmp_path / "pairs.jsonl", json.dumps(row, ensure_ascii=False))
    assert ContrastivePairs.load(lines).prompts == (text,)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("The cat, was sad.", "line 4: expected the 4 columns of line 1"),
        ("The cat, was sad., was glad.,g,more", "line 4: expected the 4 columns of line 1"),
        ("The cat,, was glad.,", "line 4: got the continuation ''"),
        ('The cat, "was" sad, was glad.,"', r"line \d+: "),
    ],
)
def test_load_names_the_row_of_values_that_is_broken(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = write(tmp_path / "pairs.csv", CSV[0], CSV[1], CSV[1], line)
    with pytest.raises(ValueError, match=rf"pairs\.csv {reason}"):
        ContrastivePairs.load(path)


@pytest.mark.parametrize("source", ["no-such.jsonl", Path("no-such.csv")])
def test_load_names_the_file_that_is_not_there(source: Any) -> None:
    with pytest.raises(ValueError, match=r"no file 'no-such\.(jsonl|csv)'"):
        ContrastivePairs.load(source)


def test_load_lists_the_named_sets_when_it_knows_no_such_set() -> None:
    with pytest.raises(ValueError, match="unknown set 'mood': expected one of .*stories:sad"):
        ContrastivePairs.load("mood")


@pytest.mark.usefixtures("untyped")
def test_examples_are_checked_when_they_are_made() -> None:
    broken: Any = 3
    for make in (lambda: Example("x", ""), lambda: Example("x", "\n")):
        with pytest.raises(ValueError, match="expected text that is not blank"):
            make()
    with pytest.raises(ValueError, match="got the prompt 3"):
        ContrastivePairs.of([(broken, " a", " b")])


prompts, groups = st.sampled_from(["", *"pqrstu"]), st.sampled_from(["", *"ghi"])
ties = st.lists(st.tuples(prompts, groups), min_size=1, max_size=16)


def tie(desired: list[tuple[str, str]], undesired: list[tuple[str, str]]) -> ContrastivePairs:
    """Few prompts and groups, so that many examples are tied; paired if the sides are one."""
    if desired is undesired:
        return ContrastivePairs.of((prompt, " a", " b", group) for prompt, group in desired)
    sides = [
        tuple(Example(prompt, f" {name}{i}", group) for i, (prompt, group) in enumerate(side))
        for name, side in (("d", desired), ("u", undesired))
    ]
    return ContrastivePairs(sides[0], sides[1], paired=False)


def tied(pairs: ContrastivePairs) -> list[set[int]]:
    """Examples, desired first, that share a prompt, a group or a pair may not be separated."""
    n, found = len(pairs.desired), []
    for i, example in enumerate((*pairs.desired, *pairs.undesired)):
        keys: set[Any] = {("prompt", example.prompt)} if example.prompt else set()
        keys |= {("group", example.group)} if example.group else set()
        keys |= {("pair", i % n)} if pairs.paired else set()
        found.append(keys)
    return components(found)


fractions = st.sampled_from([(1.0,), (0.5, 0.5), (0.6, 0.2, 0.2), (0.9, 0.1), (1 / 3,) * 3])


@given(a=ties, b=st.none() | ties, shares=fractions, seed=st.integers(0, 99))
def test_split_keeps_together_what_is_tied_and_loses_nothing(
    a: list[tuple[str, str]],
    b: list[tuple[str, str]] | None,
    shares: tuple[float, ...],
    seed: int,
) -> None:
    pairs = tie(a, a if b is None else b)
    clusters = tied(pairs)
    total, largest = len(pairs.desired) + len(pairs.undesired), max(map(len, clusters))
    try:
        parts = pairs.split(*shares, seed=seed)
    except ValueError:  # a part of pairs is only empty if one cluster outweighs it
        possible = not pairs.paired or min(shares) * total <= largest
        assert possible
        return
    assert sum(len(part.desired) for part in parts) == len(pairs.desired)
    assert sum(len(part.undesired) for part in parts) == len(pairs.undesired)
    where = {id(e): i for i, part in enumerate(parts) for e in (*part.desired, *part.undesired)}
    examples = (*pairs.desired, *pairs.undesired)
    assert {id(e) for e in examples} == set(where)
    for cluster in clusters:
        assert len({where[id(examples[i])] for i in cluster}) == 1
    for part, share in zip(parts, shares, strict=True):
        size = len(part.desired) + len(part.undesired)
        assert abs(size - share * total) <= largest + 1e-9
        assert (part.paired, part.name) == (pairs.paired, pairs.name)


@given(a=ties, b=st.none() | ties, seed=st.integers(0, 99))
def test_split_of_everything_is_everything_in_its_order(
    a: list[tuple[str, str]], b: list[tuple[str, str]] | None, seed: int
) -> None:
    pairs = tie(a, a if b is None else b)
    assert pairs.split(1.0, seed=seed) == (pairs,)


def many(n: int = 40) -> ContrastivePairs:
    return ContrastivePairs.of([(f"p{i}", " a", " b") for i in range(n)])


def test_split_gives_the_shares_where_nothing_is_tied() -> None:
    assert [len(part) for part in many().split(0.6, 0.2, 0.2, seed=0)] == [24, 8, 8]


def test_split_is_the_same_for_a_seed_and_another_for_another() -> None:
    pairs = many()
    assert pairs.split(0.5, 0.5, seed=3) == pairs.split(0.5, 0.5, seed=3)
    assert pairs.split(0.5, 0.5, seed=3) != pairs.split(0.5, 0.5, seed=4)


def test_split_keeps_the_order_within_a_part() -> None:
    for part in many().split(0.5, 0.5, seed=1):
        numbers = [int(str(e.prompt)[1:]) for e in part.desired]
        assert numbers == sorted(numbers)


def test_split_keeps_a_chain_of_prompts_and_groups_together() -> None:
    chain = [("p", " a", " b", "g"), ("q", " a", " b", "g"), ("q", " c", " d", "h")]
    pairs = ContrastivePairs.of([*chain, *((f"x{i}", " a", " b") for i in range(9))])
    for seed in range(5):
        for part in pairs.split(0.5, 0.5, seed=seed):
            assert sum(e.prompt in ("p", "q") for e in part.desired) in (0, 3)


@pytest.mark.parametrize("shares", [(), (0.5,), (0.6, 0.6), (1.2, -0.2), (1.0, 0.0)])
def test_split_refuses_fractions_that_do_not_add_up(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected positive ones that add up to 1"):
        many().split(*shares, seed=0)


def test_split_says_which_part_would_be_empty() -> None:
    one = ContrastivePairs.of([(*ROW, "g"), ("A dog", " was", " is", "g")])
    with pytest.raises(ValueError, match=r"part \d of the split \(0\.5, 0\.5\).*give more groups"):
        one.split(0.5, 0.5, seed=0)


def test_split_has_no_default_seed() -> None:
    split: Any = many().split
    with pytest.raises(TypeError, match="seed"):
        split(0.5, 0.5)


def test_a_misspelt_column_is_named_and_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"promt": "a", "desired": " b", "undesired": " c"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 1: unknown column 'promt': did you mean 'prompt'"):
        ContrastivePairs.load(path)
