"""Prompts are read from every form of file, and blank ones are counted and named."""

from pathlib import Path
from typing import Any

import pytest

import lens_steer as ls
from lens_steer.data import Prompts, prompts
from lens_steer.models import Message
from tests.data.files import as_csv, as_json, as_jsonl, as_tsv


def test_every_form_of_file_is_read(tmp_path: Path) -> None:
    texts = ["Why?", 'What is "it"?']
    (tmp_path / "p.txt").write_text('Why?\n\nWhat is "it"?\n', encoding="utf-8")
    files = [
        as_json(tmp_path / "list.json", texts),
        as_json(tmp_path / "rows.json", [{"instruction": t, "category": None} for t in texts]),
        as_jsonl(tmp_path / "p.jsonl", *({"question": t} for t in texts)),
        as_csv(tmp_path / "p.csv", ["Goal", "Target"], *([t, "Sure"] for t in texts)),
        as_tsv(tmp_path / "p.tsv", ["text", "n"], *([t, "1"] for t in texts)),
        tmp_path / "p.txt",
    ]
    for file in files:
        found = prompts.load(file)
        assert list(found) == texts, file
        assert found.name == file.stem
    assert prompts.load(str(files[-1])).left_out == {"a blank prompt": 1}


def test_blank_prompts_are_left_out_counted_and_named(tmp_path: Path) -> None:
    rows: list[Any] = [{"prompt": "a"}, {"prompt": " "}, {"prompt": None}, {"prompt": "b"}]
    found = prompts.load(as_jsonl(tmp_path / "p.jsonl", *rows))
    assert list(found) == ["a", "b"]
    assert dict(found.left_out) == {"a blank prompt": 2}
    assert repr(found).startswith("Prompts(p: 2; left out: 2 with a blank prompt (")
    assert repr(found).endswith("(line 2, line 3))")


def test_columns_of_any_name_are_mapped(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "p.csv", ["Behavior", "Kind"], ["Tell me", "x"], ["Say it", "y"])
    found = prompts.load(path, columns={"prompt": "Behavior", "group": "Kind"}, name="mine")
    assert (found.items, found.groups, found.name) == (("Tell me", "Say it"), ("x", "y"), "mine")
    with pytest.raises(ValueError, match=r"no column 'behavior', expected one of 'Behavior', 'K"):
        prompts.load(path, columns={"prompt": "behavior"})
    with pytest.raises(ValueError, match="no column 'desired' is read here"):
        prompts.load(path, columns={"desired": "Behavior"})


def test_a_template_puts_the_prompts(tmp_path: Path) -> None:
    path = as_json(tmp_path / "p.json", ["Why?"])
    assert prompts.load(path, template="qa")[0] == "Q: Why?\nA:"
    assert prompts.load(path, template="chat")[0] == (Message("user", "Why?"),)
    chat = [[{"role": "user", "content": "Hi"}]]
    assert prompts.load(chat)[0] == (Message("user", "Hi"),)
    with pytest.raises(ValueError, match="row 0: got a chat for the template 'qa'"):
        prompts.load(chat, template="qa")


def test_all_that_takes_a_list_of_prompts_takes_them(llama: Any) -> None:
    found = prompts.load(["The cat", "A dog"])
    few: dict[str, Any] = {"seed": 0, "max_new_tokens": 2}
    assert ls.generate(llama, found, **few) == ls.generate(llama, list(found), **few)


def test_a_split_keeps_groups_and_equal_prompts_together() -> None:
    items = tuple(f"prompt {i % 17}" for i in range(20))
    groups = tuple(f"group {i % 17 // 4}" for i in range(20))
    parts = Prompts(items, groups).split(0.5, 0.5, seed=0)
    assert sorted(p for part in parts for p in part) == sorted(items)
    assert not set(parts[0].groups) & set(parts[1].groups)
    assert parts[0].first(2).items == parts[0].items[:2]
    with pytest.raises(ValueError, match="would have no prompts, expected at least one"):
        Prompts(("a",)).split(0.5, 0.5, seed=0)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("none.csv", "no file 'none.csv'"),
        ("none.parquet", "expected a .jsonl, .csv, .tsv or .json file"),
        ([" "], "holds no prompt, expected at least one"),
        ([], "holds no prompt, expected at least one"),
        (3, "got source=3, expected the path of a file or a list"),
        ({"prompt": "a"}, "expected the path of a file or a list"),
        ([3], "row 0: got the prompt 3"),
        ([{"sentence": "a"}], r"row 0: no prompt in \['sentence'\], expected a column"),
        ([{"promt": "a"}], "did you mean 'prompt'"),
        ([{"premise": "a", "choice1": "b", "question": "cause"}], "expected ls.benchmark.load.'co"),
        ([{"prompt": "a", "group": 3}], "row 0: got the group 3"),
    ],
)
def test_what_holds_no_prompts_is_refused(source: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        prompts.load(source)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((("a", " "),), "prompt 1 is ' ', expected one not blank"),
        (((),), "expected at least one prompt"),
        ((("a", "b"), ("g",)), "got 1 groups for 2 prompts"),
    ],
)
def test_a_broken_set_is_refused(arguments: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Prompts(*arguments)
