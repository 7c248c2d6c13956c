"""Published benchmarks, read from their original files or the hub."""

from typing import Any

from lens_steer.arguments import FilePath, Text
from lens_steer.data import PublishedSet, Template, load_published


def load(
    name: Text, path: FilePath, *, template: Text | Template | None = None, **options: Any
) -> PublishedSet:
    """Read a published benchmark from its file or the hub; none is part of this package.

    truthfulqa-mc and truthfulqa-pairs (`TruthfulQA.csv`, `mc_task.json`), copa, sst2,
    model-written-evals, caa, refusal, advbench, jailbreakbench, jailbreakbench-judged, repeng (with
    `positive`, `negative`, `persona` and `suffixes`), persona-vectors, concept-sentences (with
    `concept`).
    `ls.data.PUBLISHED` has the licence, citation and columns of each.

    Args:
        name: Of the set.
        path: The `.csv`, `.tsv`, `.jsonl` or `.json` file, as it is published; or a data set on the
            hub that has the same columns: `"owner/name"`, `"owner/name:split"` or
            `"owner/name:config:split"`, which needs `datasets`.
        template: How questions are put: a name in `ls.data.TEMPLATES`, a text with `{question}` in
            it, or a `Template`; None is the one that is usual for the set.
        options: Of the sets that have some, as above.

    Raises:
        ValueError: If there is no such set, file or option, the file has another form (the set that
            it looks like is named), or a row is broken (it is named).

    Example:
        >>> found = ls.benchmark.load("truthfulqa-mc", "TruthfulQA.csv")
        >>> found.questions
        Questions(truthfulqa-mc: 817 with 2 to 24 choices)
    """
    return load_published(name, path, template=template, **options)
