"""Published data sets by name: the file is recognised, read, and refused if it is another's."""

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from lens_steer.arguments import FilePath, Text, checked, shortened
from lens_steer.data.published import (
    concepts,
    copa,
    harmful_requests,
    model_written_evals,
    personas,
    sst2,
    truthfulqa,
)
from lens_steer.data.published.published_set import About, PublishedSet
from lens_steer.data.published.rows import FileRows, read_file
from lens_steer.data.templates import Template, as_template

READERS: dict[About, Callable[..., PublishedSet]] = {
    truthfulqa.MC: truthfulqa.truthfulqa_mc,
    truthfulqa.PAIRS: truthfulqa.truthfulqa_pairs,
    copa.ABOUT: copa.copa,
    sst2.ABOUT: sst2.sst2,
    model_written_evals.EVALS: model_written_evals.model_written_evals,
    model_written_evals.CAA: model_written_evals.caa,
    harmful_requests.REFUSAL: harmful_requests.refusal,
    harmful_requests.ADVBENCH: harmful_requests.advbench,
    harmful_requests.JAILBREAKBENCH: harmful_requests.jailbreakbench,
    harmful_requests.JUDGED: harmful_requests.jailbreakbench_judged,
    personas.REPENG: personas.repeng,
    personas.TRAITS: personas.persona_vectors,
    concepts.ABOUT: concepts.concept_sentences,
}
PUBLISHED: Mapping[str, About] = MappingProxyType({about.name: about for about in READERS})


def load_published(
    name: Text, path: FilePath, *, template: Text | Template | None = None, **options: Any
) -> PublishedSet:
    """Read a published data set from its original file or the hub; none is part of this package.

    `PUBLISHED` lists the sets; the docstrings of their readers say what each file looks like.

    Args:
        name: Of the set.
        path: The file, as it is published, or the same set on the hub: `"owner/name"`,
            `"owner/name:split"` or `"owner/name:config:split"`.
        template: How questions are put; None is the way that is usual for the set.
        options: Of the sets that have some: repeng and concept-sentences.

    Raises:
        ValueError: If there is no such set, file or option, the file has another form (the set that
            it looks like is named), or a row is broken (it is named).
    """
    if str(path) in PUBLISHED and name not in PUBLISHED:
        raise ValueError(
            f"got name={shortened(name)} and path={str(path)!r}, expected the name first: write "
            f"load({str(path)!r}, {name!r})"
        )
    about = _about(name)
    read = READERS[about]
    takes = inspect.signature(read).parameters
    known = [option for option in takes if option not in ("file", "template")]
    for option in options:
        if option not in known:
            raise ValueError(
                f"got the option {option!r} for {name!r}, expected "
                + (f"one of {', '.join(known)}" if known else "none: it has no options")
            )
    if template is not None and "template" not in takes:
        raise ValueError(f"got template={shortened(template)}, expected none: {name!r} has no use")
    file = read_file(path)
    _check_form(about, file)
    if "template" in takes and (template is not None or about.template):
        options["template"] = as_template(about.template if template is None else template)
    return checked(read, f"load({name!r})")(file, **options)


def _about(name: str) -> About:
    if name not in PUBLISHED:
        nearest = get_close_matches(name, PUBLISHED, n=1)
        guess = f" (did you mean {nearest[0]!r}?)" if nearest else ""
        raise ValueError(
            f"got name={shortened(name)}{guess}, expected one of "
            f"{', '.join(map(repr, PUBLISHED))}; other files: ls.ContrastivePairs.load(path, "
            "columns=...)"
        )
    return PUBLISHED[name]


def _check_form(about: About, file: FileRows) -> None:
    """Raise a ValueError if a file is none of this set."""
    if about.fits(file.columns):
        return
    like = [other.name for other in READERS if other.fits(file.columns)]
    looks = f"; it looks like {' or '.join(map(repr, like))}: give that name" if like else ""
    raise ValueError(
        f"{file.path} is no file of {about.name!r}: it has {', '.join(sorted(file.columns)[:10])}, "
        f"expected {about.expected}{looks}"
    )
