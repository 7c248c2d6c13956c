"""Prompts from a file, a list, or a data set on the hub."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lens_steer.arguments import Text, shortened
from lens_steer.data.file_formats import read_text_lines
from lens_steer.data.hub import hub_rows, is_hub_name
from lens_steer.data.left_out import LeftOut
from lens_steer.data.prompts.prompt_set import Prompts
from lens_steer.data.records import check_names
from lens_steer.data.sources import mapped, records_of
from lens_steer.data.templates import Template, as_template
from lens_steer.models import Prompt, as_prompt

NAMES = ("messages", "prompt", "question", "instruction", "goal", "text")  # in this order
_KNOWN = (*NAMES, "group")
BLANK = "a blank prompt"


def load(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    template: Text | Template | None = None,
    name: str = "",
) -> Prompts:
    """Load prompts from a file, a list of texts, chats or rows, or a data set on the hub.

    Args:
        source: The path of a `.jsonl`, `.csv`, `.tsv`, `.json` or `.txt` file, a list, or the name
            of a data set on the hub: `"owner/name"`, `"owner/name:split"`,
            `"owner/name:config:split"`.
        columns: What the columns are called there: `{"prompt": "Behavior", "group": "Category"}`;
            others are passed over.
        template: How a prompt is put, such as `"chat"` or `"qa"`; None takes them as they are.
        name: What the set is called in reports; empty for the name of the file.

    Returns:
        The prompts; blank ones are left out, and `left_out` counts and names their rows.

    Raises:
        ValueError: If there is no such file, column or template, no prompt is left, or a row is
            neither text nor a chat; it is named.

    Example:
        >>> ls.prompts.load("harmful_behaviors.csv", template="chat")
        Prompts(harmful_behaviors: 520)
    """
    how = None if template is None else as_template(template)
    rows, place = _rows(source)
    if columns is not None:
        rows = mapped(rows, columns, _KNOWN)
    if not isinstance(source, str | Path):
        return _prompts(rows, name or place, how)
    file = source if is_hub_name(source) else Path(source)
    found = [(where.removeprefix(f"{file} "), row) for where, row in rows]
    try:
        return _prompts(found, name or place, how)
    except ValueError as error:
        raise ValueError(f"{file} {error}") from error


def _prompts(
    rows: Iterable[tuple[str, Any]], name: str, template: Template | None = None
) -> Prompts:
    """The prompts in some rows; blank ones are left out."""
    items: list[Prompt] = []
    groups: list[str] = []
    blank: list[tuple[str, str]] = []
    for place, row in rows:
        try:
            prompt, group = _prompt(row)
            if isinstance(prompt, str) and not prompt.strip():
                blank.append((BLANK, place))
                continue
            items.append(prompt if template is None else _put(prompt, template))
            groups.append(group)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
    if not items:
        raise ValueError("holds no prompt, expected at least one that is not blank")
    return Prompts(tuple(items), tuple(groups), name, LeftOut.of(blank))


def _rows(source: Any) -> tuple[Iterable[tuple[str, Any]], str]:
    if is_hub_name(source):
        return hub_rows(str(source)), str(source)
    if isinstance(source, str | Path):
        path = Path(source)
        records = read_text_lines(path) if path.suffix == ".txt" else records_of(path)
        if isinstance(records, Mapping):
            raise ValueError(
                f"{path}: got an object with {shortened(list(records))}, expected a list of "
                "texts or of rows"
            )
        return records, path.stem
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise ValueError(
            f"got source={shortened(source)}, expected the path of a file or a list of prompts"
        )
    return ((f"row {i}", row) for i, row in enumerate(source)), "prompts"


def _prompt(row: Any) -> tuple[Prompt, str]:
    """The prompt of a row, and its group."""
    if not isinstance(row, Mapping):
        return as_prompt(row), ""
    columns = {str(name).lower(): value for name, value in row.items()}
    check_names(columns, _KNOWN)
    if "premise" in columns and "choice1" in columns:  # where "question" is cause or effect
        raise ValueError("got a row of COPA, expected ls.benchmark.load('copa', path).prompts")
    found = [name for name in NAMES if name in columns]
    if not found:
        raise ValueError(
            f"no prompt in {shortened(list(row))}, expected a column {', '.join(NAMES)}, or "
            "columns={'prompt': ...}"
        )
    prompt, group = columns[found[0]], columns.get("group") or ""
    if not isinstance(group, str):
        raise ValueError(f"got the group {shortened(group)}, expected a text")
    return as_prompt("" if prompt is None else prompt), group


def _put(prompt: Prompt, template: Template) -> Prompt:
    if not isinstance(prompt, str):
        raise ValueError(
            f"got a chat for the template {template.name!r}, expected a text: leave template out"
        )
    return template.prompt(prompt)
