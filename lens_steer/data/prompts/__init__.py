"""Prompts alone: questions and instructions that have no answers, from files, lists and the hub.

`load` reads them (`reading`), `Prompts` (`prompt_set`) is the set: a sequence of prompts that
everything takes which takes a list of them, and that splits as pairs do.

A row of a `.jsonl`, `.csv`, `.tsv` or `.json` file has one of `messages` (a chat), `prompt`,
`question`, `instruction`, `goal` or `text`, the first of these where there are several, and
optionally `group`; headings in capitals are the same (`Goal`). A `.json` file may be a list of
texts, a `.txt` file has a prompt on each line. Blank prompts are left out, counted and named.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.data.prompts.prompt_set import Prompts as Prompts
from lens_steer.data.prompts.reading import load as load

_check_room(globals())
