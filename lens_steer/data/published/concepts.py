"""Sentences with the concept that each is about."""

from collections import Counter

from lens_steer.data.contrastive_pairs import ContrastivePairs
from lens_steer.data.published.published_set import About, PublishedSet
from lens_steer.data.published.rows import FileRows, gathered, text_in

ABOUT = About(
    "concept-sentences",
    "that of the file",
    "that of the file; the form is the one of A-LQR's concepts",
    (frozenset({"concept", "sentence"}),),
    template="",
)


def concept_sentences(file: FileRows, *, concept: str = "") -> PublishedSet:
    """Sentences about concepts: those about one of them desired, those about the others not.

    A row of `.csv` has concept and sentence. The set is unpaired; a sentence stands alone.

    Args:
        file: The file.
        concept: The one that is desired.

    Licence and source: those of the file, of which there are several.
    """
    rows, left_out = gathered(
        file, lambda row: (text_in(row, "concept").strip(), text_in(row, "sentence").strip())
    )
    counts = Counter(about for about, _ in rows)
    if concept not in counts or len(counts) < 2:
        listed = ", ".join(f"{name!r} ({count})" for name, count in counts.most_common(20))
        raise ValueError(
            f"{file.path}: got concept={concept!r}, expected one of at least two concepts in "
            f"the file: {listed}"
        )
    sides = [[text for about, text in rows if (about == concept) is of] for of in (True, False)]
    pairs = ContrastivePairs.unpaired(*sides, name=f"{file.name}:{concept}")
    return PublishedSet(ABOUT, pairs=pairs, left_out=left_out)
