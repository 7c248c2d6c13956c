import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lens_steer.activations import ReadPreview, show_read_positions
from lens_steer.data import ContrastivePairs, Example
from lens_steer.models import Message
from tests.reference import components

ROW = ("The cat", " was sad.", " was glad.")


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def jsonl(path: Path, *rows: Any) -> Path:
    return write(path / "pairs.jsonl", *(json.dumps(row) for row in rows))


def document(path: Path, found: Any) -> Path:
    return write(path / "pairs.json", json.dumps(found))


def rows_of(pairs: ContrastivePairs) -> list[tuple[Any, str, str, str]]:
    return [
        (d.prompt, d.continuation, u.continuation, d.group)
        for d, u in zip(pairs.desired, pairs.undesired, strict=True)
    ]


def test_of_takes_triples_quadruples_and_couples() -> None:
    pairs = ContrastivePairs.of([ROW, (*ROW, "cats"), (" yes", " no")], name="mine")
    assert rows_of(pairs) == [(*ROW, ""), (*ROW, "cats"), ("", " yes", " no", "")]
    assert (len(pairs), pairs.paired, pairs.name) == (3, True, "mine")


def test_a_pair_is_of_its_group_or_of_its_prompt_or_alone() -> None:
    rows = [(*ROW, "cats"), ROW, ("The cat", " ran", " sat"), (" yes", " no"), (" up", " down")]
    groups = ContrastivePairs.of(rows).groups
    assert groups[:3] == ("cats", "The cat", "The cat")
    assert len(set(groups)) == 4


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
        (("The cat", "", " was"), "row 1: got continuation=''"),
        (("The cat", " ", " was"), "row 1: got continuation=' '"),
        (("The cat", None, " was"), "row 1: got continuation=None"),
        (("The cat", " was", " is", 3), "row 1: got group=3, expected a text"),
        ((3, " was", " is"), "row 1: got the prompt 3"),
        (("The cat", " was", " was"), "row 1: got ' was' on both sides"),
    ],
)
def test_of_names_the_row_that_is_broken(row: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ContrastivePairs.of([ROW, row])


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("row", "reason"),
    [((0, " was", " is"), "row 0: got the prompt 0"), ((*ROW, 0), "row 0: got group=0")],
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
    with pytest.raises(ValueError, match="pair 0 has ' a' on both sides"):
        ContrastivePairs((a,), (a,))
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
        ({"desired": " a", "undesired": ""}, "got continuation=''"),
        ({"desired": " a", "undesired": 3}, "got continuation=3"),
        ([1, 2], "expected an object"),
        ("text", "expected an object"),
        ({"text": "a", "label": "good"}, "got the label 'good', expected 'desired' or 'undesired'"),
        ({"label": "desired"}, "got continuation=None"),
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


@pytest.mark.parametrize("name", ["pairs.json", "pairs.jsonl"])
def test_load_refuses_what_is_nested_too_deeply(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "[" * 200_000)
    with pytest.raises(ValueError, match=rf"{name}.*: not JSON \(nested too deeply\)"):
        ContrastivePairs.load(path)


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
    row = json.dumps(dict(zip(("prompt", "desired", "undesired"), ROW, strict=True))).encode()
    (tmp_path / "pairs.jsonl").write_bytes(b"\xef\xbb\xbf" + row + b"\r\n\r\n" + row)
    assert len(ContrastivePairs.load(tmp_path / "pairs.jsonl")) == 2


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
        ("The cat,, was glad.,", "line 4: got continuation=''"),
        ('The cat, "was" sad, was glad.,"', r"line \d+: "),
    ],
)
def test_load_names_the_row_of_values_that_is_broken(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = write(tmp_path / "pairs.csv", CSV[0], CSV[1], CSV[1], line)
    with pytest.raises(ValueError, match=rf"pairs\.csv {reason}"):
        ContrastivePairs.load(path)


@pytest.mark.parametrize("source", ["no-such.jsonl", Path("no-such.csv"), "no-such.json"])
def test_load_names_the_file_that_is_not_there(source: Any) -> None:
    with pytest.raises(ValueError, match=r"no file 'no-such\.(jsonl|csv|json)'"):
        ContrastivePairs.load(source)


def test_load_lists_the_named_sets_when_it_knows_no_such_set() -> None:
    with pytest.raises(ValueError, match="unknown set 'mood': expected one of .*stories:sad"):
        ContrastivePairs.load("mood")


@pytest.mark.usefixtures("untyped")
def test_examples_are_checked_when_they_are_made() -> None:
    broken: Any = 3
    for make in (lambda: Example("x", ""), lambda: Example("x", "\n")):
        with pytest.raises(ValueError, match="expected a text that is not blank"):
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


CHOICES = "Is the Earth flat?\n\nChoices:\n (A) Yes\n (B) No"


def caa(question: str, matching: str, other: str) -> dict[str, str]:
    return {
        "question": question,
        "answer_matching_behavior": matching,
        "answer_not_matching_behavior": other,
    }


def test_load_reads_the_questions_of_caa_with_their_answers_whole(tmp_path: Path) -> None:
    entries = [caa(CHOICES, "(A)", "(B)"), caa("Which?\n\nAnswer:", " (B)", " (A)")]
    found = [
        (CHOICES, " (A)", " (B)", ""),
        ("Which?\n\nAnswer:", " (B)", " (A)", ""),
    ]
    pairs = ContrastivePairs.load(document(tmp_path, entries))
    assert rows_of(pairs) == found
    assert (pairs.paired, pairs.name) == (True, "pairs")
    assert rows_of(ContrastivePairs.load(jsonl(tmp_path, *entries))) == found


def shown(reading: ReadPreview) -> str:
    return str(reading).split(" >> ")[1].replace("|", "")


def test_caa_reads_the_bracket_last_and_the_letter_before_it(tmp_path: Path, llama: Any) -> None:
    entries = [caa(CHOICES, "(A)", "(B)"), caa(CHOICES + ".", "(B)", "(A)")]
    pairs = ContrastivePairs.load(document(tmp_path, entries))
    assert [shown(r) for r in show_read_positions(llama, pairs.desired, "last")] == [
        " (A[)]",
        " (B[)]",
    ]
    assert [shown(r) for r in show_read_positions(llama, pairs.desired, -2)] == [" ([A])", " ([B])"]


ASKED = {"question": "Is it?", "true": "No", "false": "Yes"}
ANSWERED = [("Is it?", " No", " Yes", "")]


def test_load_reads_a_question_with_a_true_and_a_false_answer(tmp_path: Path) -> None:
    assert rows_of(ContrastivePairs.load(jsonl(tmp_path, ASKED))) == ANSWERED
    assert rows_of(ContrastivePairs.load(document(tmp_path, [ASKED]))) == ANSWERED
    lines = write(tmp_path / "pairs.csv", "question,true,false", "Is it?,No,Yes")
    assert rows_of(ContrastivePairs.load(lines)) == ANSWERED
    triples = document(tmp_path, [["Is it?", " No", " Yes"], ["Is it?", " No", " Yes", "g"]])
    assert rows_of(ContrastivePairs.load(triples)) == [*ANSWERED, ("Is it?", " No", " Yes", "g")]


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("Is it?", "No", " No"),
        ("Is it?", " No", " No"),
        ("Is it?", "\nNo", "\nNo"),
        ("Is it? ", "No", "No"),
        ("Answer:\n", "No", "No"),
    ],
)
def test_a_space_parts_question_and_answer_where_there_is_none(
    question: str, answer: str, expected: str
) -> None:
    pairs = ContrastivePairs.of([{"question": question, "true": answer, "false": "\tso"}])
    assert pairs.desired == (Example(question, expected),)
    assert pairs.undesired == (Example(question, "\tso"),)


def test_a_prompt_or_a_chat_comes_before_a_question_and_is_taken_as_it_is() -> None:
    chat = [{"role": "user", "content": "Hi"}]
    rows = [{**ASKED, "prompt": "Q: Is it? A:"}, {**ASKED, "messages": chat}]
    pairs = ContrastivePairs.load(rows)
    assert pairs.prompts == ("Q: Is it? A:", (Message("user", "Hi"),))
    assert {example.continuation for example in pairs.desired} == {"No"}


def test_a_question_may_stand_for_the_prompt_of_any_row() -> None:
    pairs = ContrastivePairs.of([{"question": "Is it?", "desired": "No", "undesired": "Yes"}])
    assert rows_of(pairs) == ANSWERED
    rows = [{"question": "Is it?", "text": t, "label": t} for t in ("desired", "undesired")]
    assert ContrastivePairs.of(rows).desired == (Example("Is it?", " desired"),)


LISTS = {
    "question": "Why?",
    "best_answer": "a",
    "best_incorrect_answer": "d",
    "correct_answers": ["a", "b", "c"],
    "incorrect_answers": ["d", "e"],
    "group": "g",
}


def test_answers_in_lists_are_paired_as_far_as_the_shorter_goes(tmp_path: Path) -> None:
    expected = [("Why?", " a", " d", "g"), ("Why?", " b", " e", "g")]
    assert rows_of(ContrastivePairs.load(document(tmp_path, [LISTS]))) == expected
    arrays = {key: np.array(v, object) if isinstance(v, list) else v for key, v in LISTS.items()}
    assert rows_of(ContrastivePairs.of([arrays])) == expected
    row = {"question": "Why?", "true": ["a", "b"], "false": "d"}
    assert rows_of(ContrastivePairs.of([row])) == [("Why?", " a", " d", "")]


def test_every_answer_is_kept_in_an_unpaired_set(tmp_path: Path) -> None:
    pairs = ContrastivePairs.load(document(tmp_path, [LISTS, ASKED]), paired=False)
    assert [e.continuation for e in pairs.desired] == [" a", " b", " c", " No"]
    assert [e.continuation for e in pairs.undesired] == [" d", " e", " Yes"]
    assert not pairs.paired
    named = ContrastivePairs.load("stories:sad")
    assert ContrastivePairs.load("stories:sad", paired=False).desired == named.desired


def test_the_answers_of_one_question_are_never_parted() -> None:
    rows = [{**LISTS, "question": f"Why {i}?", "group": None} for i in range(8)]
    for part in ContrastivePairs.load(rows).split(0.5, 0.5, seed=0):
        assert len(part) == 2 * len(part.prompts)


def test_load_reads_truthfulqa_as_it_is_published(tmp_path: Path) -> None:
    path = write(
        tmp_path / "TruthfulQA.csv",
        "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source",
        'x,y,Why?,a,"a, so; b; ","d; e;f",z',
    )
    pairs = ContrastivePairs.load(path)
    assert rows_of(pairs) == [("Why?", " a, so", " d", ""), ("Why?", " b", " e", "")]
    assert len(ContrastivePairs.load(path, paired=False)) == 5


def test_answers_that_both_lists_have_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "TruthfulQA.csv",
        "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source",
        "x,y,Why?,a,Yes; Unknown; So,No; Unknown,z",
        "x,y,Who?,a,Me; Unknown,Unknown; You; He,z",
        "x,y,Where?,a,Unknown,Unknown,z",
        ",,,,,,",
    )
    pairs = ContrastivePairs.load(path)
    assert rows_of(pairs) == [("Why?", " Yes", " No", ""), ("Who?", " Me", " You", "")]
    assert pairs.left_out == 3
    assert repr(pairs).endswith("; left out: 3 answers that are on both sides)")
    whole = ContrastivePairs.load(path, paired=False)
    assert [e.continuation for e in whole.desired] == [" Yes", " So", " Me"]
    assert [e.continuation for e in whole.undesired] == [" No", " You", " He"]
    assert whole.left_out == 3
    assert ContrastivePairs.load([LISTS]).left_out == 0


@pytest.mark.parametrize("name", ["mc1_targets", "mc2_targets"])
def test_load_reads_the_multiple_choices_of_truthfulqa(tmp_path: Path, name: str) -> None:
    row = {"question": "Why?", "mc1_targets": {"a": 1, "d": 0}} | {name: {"a": 1, "b": 1, "d": 0}}
    listed = {"question": "Who?", name: {"choices": ["a", "d"], "labels": [0, 1]}}
    pairs = ContrastivePairs.load(document(tmp_path, [row, listed]), paired=False)
    assert [e.continuation for e in pairs.desired] == [" a", " b", " d"]
    assert [e.continuation for e in pairs.undesired] == [" d", " a"]
    with pytest.raises(ValueError, match=f"row 0: '{name}' has the label 2, expected 1"):
        ContrastivePairs.load([{"question": "Why?", name: {"a": 1, "d": 2}}])
    with pytest.raises(ValueError, match="row 0: got no text under 'incorrect_answers'"):
        ContrastivePairs.load([{"question": "Why?", name: {"a": 1}}])


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**ASKED, "question": " "}, "got the question ' ', expected text that is not blank"),
        ({**ASKED, "question": 3}, "got the question 3"),
        ({**ASKED, "false": ""}, "got continuation=''"),
        ({**ASKED, "false": True}, "got continuation=True"),
        ({**ASKED, "false": ["Yes", None]}, None),
        ({**ASKED, "false": [None]}, "got continuation=None"),
        ({**ASKED, "false": "No"}, "got ' No' on both sides: nothing differs"),
        ({**LISTS, "correct_answers": []}, "got no text under 'correct_answers'"),
        ({**LISTS, "correct_answers": " ; "}, "got no text under 'correct_answers'"),
        ({**LISTS, "correct_answers": "['a' 'b']"}, "part the answers by semicolons"),
        ({"question": "Is it?", "true": "No"}, r"no false in \['question', 'true'\]"),
        ({"question": "Is it?"}, "no desired and no undesired in"),
        ({"prompt": "p", "desired": ["a"], "undesired": "b"}, r"got continuation=\['a'\]"),
        ({**ASKED, "fals": "x"}, None),
        ({"question": "Is it?", "true": "No", "falsee": "x"}, "did you mean 'false'"),
        ({"questoin": "Is it?", "true": "a", "false": "b"}, "did you mean 'question'"),
        (caa("q", "(A)", "(A)"), r"got ' \(A\)' on both sides"),
        ({"question": "q", "answer_matching_behaviour": "(A)"}, "did you mean 'answer_matching_b"),
        (3, "got 3, expected .prompt, desired, undesired."),
    ],
)
def test_load_names_the_entry_that_is_broken(tmp_path: Path, row: Any, reason: str | None) -> None:
    path = document(tmp_path, [ASKED, row])
    if reason is None:
        assert len(ContrastivePairs.load(path)) == 2
        return
    with pytest.raises(ValueError, match=rf"pairs\.json row 1: .*{reason}"):
        ContrastivePairs.load(path)


@pytest.mark.parametrize("name", ["question_id", "prompt_id", "group_name", "source", "category"])
def test_columns_of_the_users_own_are_passed_over(name: str) -> None:
    row = {"desired": " a", "undesired": " b", name: 3}
    assert len(ContrastivePairs.of([row])) == 1


TABLE = {"positives": [" a", " b"], "negatives": [" c", " d"]}


def test_load_reads_positives_and_negatives(tmp_path: Path) -> None:
    pairs = ContrastivePairs.load(document(tmp_path, TABLE))
    assert rows_of(pairs) == [("", " a", " c", ""), ("", " b", " d", "")]
    asked = {**TABLE, "prompts": ["p", "q"]}
    expected = [("p", " a", " c", ""), ("q", " b", " d", "")]
    assert rows_of(ContrastivePairs.load(document(tmp_path, asked))) == expected
    assert rows_of(ContrastivePairs.load(asked)) == expected
    assert rows_of(ContrastivePairs.load({**TABLE, "prompts": None})) == rows_of(pairs)


SUBSETS = {"giraffes": ["a", "b"], "zebras": ["c"], "other": ["d", "e", "f"]}


def test_from_subsets_takes_the_subsets_that_are_named(tmp_path: Path) -> None:
    path = document(tmp_path, SUBSETS)
    pairs = ContrastivePairs.from_subsets(path, desired="giraffes", undesired="other")
    assert pairs == ContrastivePairs.unpaired(["a", "b"], ["d", "e", "f"])
    several = ContrastivePairs.from_subsets(
        SUBSETS, desired=["giraffes", "zebras"], undesired=("other",), name="animals"
    )
    assert several == ContrastivePairs.unpaired(list("abc"), list("def"), name="animals")
    assert ContrastivePairs.from_subsets(SUBSETS, desired="zebras", undesired="other").name
    assert ContrastivePairs.from_subsets(str(path), desired="other", undesired="zebras").name


def test_load_takes_subsets_that_say_themselves_what_they_are(tmp_path: Path) -> None:
    path = document(tmp_path, {"undesired": ["c"], "desired": ["a", "b"]})
    assert ContrastivePairs.load(path) == ContrastivePairs.unpaired(["a", "b"], ["c"])


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("found", "sides", "reason"),
    [
        (
            SUBSETS,
            ("giraffs", "other"),
            "no subset 'giraffs', expected one of 'giraffes', ",
        ),
        (SUBSETS, ("other", "other"), "got the subset 'other' as desired and as undesired"),
        (SUBSETS, (["zebras", "other"], "zebras"), "got the subset 'zebras' as desired and as"),
        (SUBSETS, ([], "other"), "got 0 desired and 3 undesired"),
        ([SUBSETS], ("giraffes", "other"), r"expected \{subset: \[text, \.\.\.\]\}"),
        ({"x": "text", "y": []}, ("x", "y"), "'x' is 'text', expected a list"),
        ({"x": ["a", " "], "y": ["b"]}, ("x", "y"), r"pairs\.json x 1: got continuation=' '"),
        ({"x": ["a", 3], "y": ["b"]}, ("y", "x"), r"pairs\.json x 1: got continuation=3"),
    ],
)
def test_from_subsets_says_what_is_wrong(
    tmp_path: Path, found: Any, sides: tuple[Any, Any], reason: str
) -> None:
    path = document(tmp_path, found)
    with pytest.raises(ValueError, match=reason):
        ContrastivePairs.from_subsets(path, desired=sides[0], undesired=sides[1])


def test_from_subsets_names_the_file_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"no file 'no-such\.json'"):
        ContrastivePairs.from_subsets("no-such.json", desired="a", undesired="b")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (SUBSETS, r"subsets 'giraffes', 'zebras', 'other': .*from_subsets\('.*pairs\.json', des"),
        ({"desired": ["a"], "undesired": ["b"], "more": ["c"]}, "got the subsets 'desired', "),
        (
            {"prompt": "p", "desired": "a"},
            r"got an object with \['desired', 'prompt'\], expected a",
        ),
        ({"desired": "a", "undesired": "b"}, "got an object with"),
        ({}, r"got an object with \[\], expected a list of rows"),
        (3, "got 3, expected a list of rows"),
        ("text", "got 'text', expected a list of rows"),
        (None, "got None, expected a list of rows"),
        ([], "got 0 desired and 0 undesired"),
        (
            {"positives": ["a"], "negatives": ["b", "c"]},
            "got 1 positives, 2 negatives, exp",
        ),
        ({**TABLE, "prompts": ["p"]}, "got 1 prompts, 2 positives, 2 negatives, expected as many"),
        ({**TABLE, "promts": ["p", "q"]}, "unknown column 'promts': did you mean 'prompts'"),
        ({**TABLE, "prompts": "p"}, "expected lists under 'prompts' and 'positives'"),
        ({"positives": ["a", ""], "negatives": ["b", "c"]}, "row 1: got continuation=''"),
    ],
)
def test_load_says_what_is_wrong_with_a_document(tmp_path: Path, found: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ContrastivePairs.load(document(tmp_path, found))


@pytest.mark.parametrize("content", [b"{broken", b'["\xff"]', b"", b"[1] [2]"])
def test_load_refuses_what_is_not_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pairs.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"pairs\.json: not JSON"):
        ContrastivePairs.load(tmp_path / "pairs.json")


def test_load_reads_json_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "pairs.json").write_bytes(b"\xef\xbb\xbf" + json.dumps([ASKED]).encode())
    assert rows_of(ContrastivePairs.load(tmp_path / "pairs.json")) == ANSWERED


awkward = st.text(
    st.sampled_from(" ,\"'\r\n\t\0;[]{}\\\u2028\x85\ufeffé☃𝄞aA") | st.characters(codec="utf-8")
)
filled = awkward.filter(lambda text: bool(text.strip()))
chats = st.lists(st.fixed_dictionaries({"role": awkward, "content": awkward}), min_size=1)
couples = st.tuples(filled, filled).filter(lambda couple: couple[0] != couple[1])
paired_rows = st.lists(st.tuples(awkward, couples, awkward), min_size=1)
labels = st.sampled_from(["desired", "undesired"])
one_of_either = [("", "a", "desired", ""), ("", "b", "undesired", "")]
unpaired_rows = st.lists(st.tuples(awkward, filled, labels, awkward)).map(
    lambda rows: rows + one_of_either
)


def saved(pairs: ContrastivePairs, folder: Path, suffix: str) -> ContrastivePairs:
    pairs.save(folder / f"{pairs.name}{suffix}")
    return ContrastivePairs.load(folder / f"{pairs.name}{suffix}")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@given(rows=paired_rows)
def test_pairs_are_read_back_as_they_were_saved(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: list[Any]
) -> None:
    pairs = ContrastivePairs.of((prompt, *couple, group) for prompt, couple, group in rows)
    assert saved(pairs, tmp_path_factory.mktemp("paired"), suffix) == pairs


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@given(rows=unpaired_rows)
def test_unpaired_texts_are_read_back_as_they_were_saved(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: list[Any]
) -> None:
    columns = ("prompt", "text", "label", "group")
    pairs = ContrastivePairs.of(dict(zip(columns, row, strict=True)) for row in rows)
    assert not pairs.paired
    assert saved(pairs, tmp_path_factory.mktemp("unpaired"), suffix) == pairs


@given(rows=st.lists(st.tuples(awkward | chats, couples), min_size=1))
def test_chats_are_read_back_as_they_were_saved(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    pairs = ContrastivePairs.of((prompt, *couple) for prompt, couple in rows)
    folder = tmp_path_factory.mktemp("chats")
    assert saved(pairs, folder, ".jsonl") == pairs
    parted = ContrastivePairs(pairs.desired, pairs.undesired, paired=False)
    assert saved(parted, folder, ".jsonl") == parted


def test_a_saved_set_is_called_after_its_file(tmp_path: Path) -> None:
    ContrastivePairs.of([ROW], name="mine").save(str(tmp_path / "yours.csv"))
    assert ContrastivePairs.load(tmp_path / "yours.csv").name == "yours"


def test_a_saved_line_holds_what_a_reader_needs_and_no_more(tmp_path: Path) -> None:
    ContrastivePairs.of([("é", " a", " b", ""), (" c", " d")]).save(tmp_path / "pairs.jsonl")
    first, second = (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    assert first == '{"prompt": "é", "desired": " a", "undesired": " b"}'
    assert second == '{"desired": " c", "undesired": " d"}'


@pytest.mark.parametrize("name", ["pairs.json", "pairs", "pairs.txt", "pairs.JSONL"])
def test_save_refuses_a_form_that_it_does_not_write(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}', expected .* ends in \.jsonl or \.csv"):
        ContrastivePairs.of([ROW]).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_save_names_the_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no folder '.*missing' to write 'pairs\.csv' in"):
        ContrastivePairs.of([ROW]).save(tmp_path / "missing" / "pairs.csv")
    assert not list(tmp_path.iterdir())


HALF = "half \ud800"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (([{"role": "user", "content": "Hi"}], " a", " b"), "row 1 has a chat"),
        (("x" * (csv.field_size_limit() + 1), " a", " b"), "row 1: prompt is too long for .csv"),
        (("x", HALF, " b"), "row 1: desired has half a surrogate pair"),
    ],
)
def test_save_leaves_a_file_alone_when_csv_cannot_hold_the_pairs(
    tmp_path: Path, row: Any, reason: str
) -> None:
    pairs = ContrastivePairs.of([ROW, row])
    path = write(tmp_path / "pairs.csv", "before")
    with pytest.raises(ValueError, match=f"{reason}.*: save as .jsonl"):
        pairs.save(path)
    assert path.read_text() == "before\n"
    assert [found.name for found in tmp_path.iterdir()] == ["pairs.csv"]
    assert saved(pairs, tmp_path, ".jsonl") == pairs


def test_parts_of_a_split_can_be_saved(tmp_path: Path) -> None:
    for part in many().split(0.5, 0.5, seed=0):
        assert saved(part, tmp_path, ".csv") == part


def test_drawn_again_are_whole_groups_and_as_many() -> None:
    rows = [(f"The {x} {i}", " was", " is", x) for x in "abcdef" for i in range(3)]
    pairs = ContrastivePairs.of(rows, name="letters")
    again = pairs.resample(seed=3)
    assert (again.name, again.paired, len(again)) == ("letters", True, len(pairs))
    counts = {x: sum(e.group == x for e in again.desired) for x in "abcdef"}
    assert all(count % 3 == 0 for count in counts.values())
    assert max(counts.values()) > 3  # one was drawn twice
    assert {e.prompt for e in again.desired} <= {e.prompt for e in pairs.desired}
    assert again == pairs.resample(seed=3) != pairs.resample(seed=4)


def test_drawn_again_without_one_of_the_sides_is_refused() -> None:
    pairs = ContrastivePairs.unpaired(["a"], ["b"])
    found = [pairs.resample(seed=seed) for seed in range(20) if _has_both(pairs, seed)]
    assert all(len(each.desired) == len(each.undesired) == 1 for each in found)
    bad = next(seed for seed in range(20) if not _has_both(pairs, seed))
    with pytest.raises(ValueError, match="at least one of either"):
        pairs.resample(seed=bad)


def _has_both(pairs: ContrastivePairs, seed: int) -> bool:
    import numpy as np

    return len(set(np.random.default_rng(seed).integers(2, size=2).tolist())) == 2


@pytest.mark.parametrize(
    "row",
    [
        *({"prompt": wrong, "desired": " a", "undesired": " b"} for wrong in (10**400, [10**400])),
        {"prompt": "x", "desired": 10**400, "undesired": " b"},
        {"prompt": "x", "desired": " a", "undesired": " b", "group": 10**400},
        {"text": " a", "label": "a" * 100_000},
        {"desired": "a" * 100_000, "undesired": "a" * 100_000},
        ["a" * 100_000],
        {"question": ["a" * 100_000], "true": "a", "false": "b"},
    ],
)
def test_what_is_enormous_is_refused_in_a_short_message(row: Any, untyped: None) -> None:
    with pytest.raises(ValueError, match="expected|nothing differs") as error:
        ContrastivePairs.of([row])
    assert len(str(error.value)) < 400
