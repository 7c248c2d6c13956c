"""SST-2: phrases and sentences of film reviews, positive or negative."""

from typing import Any

from lens_steer.data.contrastive_pairs import ContrastivePairs
from lens_steer.data.published.published_set import About, PublishedSet
from lens_steer.data.published.rows import FileRows, gathered, one_of, text_in
from lens_steer.data.questions import Question, Questions
from lens_steer.data.templates import Template

ABOUT = About(
    "sst2",
    "for research",
    "Socher et al. 2013, Recursive Deep Models for Semantic Compositionality, EMNLP",
    (frozenset({"sentence", "label"}),),
    template="review",
    counts="60,614 to train with, 6,735 to choose with, 872 to test (by split files)",
)
_SADI = "sadi-sst2"  # its label words are capitalised


def sst2(file: FileRows, template: Template) -> PublishedSet:
    """SST-2: is a phrase of a film review positive?

    The questions ask for the word "positive" or "negative" (capitalised where the template says so:
    SADI's). The pairs are unpaired texts: the positive ones desired, the negative ones undesired.

    A row of `.tsv` has sentence and label, 1 for positive. Many rows are phrases of one review,
    and phrases of one review are in several files: 98.7 % of the phrases of five words or more in
    `dev.tsv` share five words in a row with `train.tsv`. Only `test.tsv` is a test; or take the
    files through `without_near_duplicates`.

    Licence: for research. Source: Socher et al. 2013.
    """
    words = ("Negative", "Positive") if template.name == _SADI else ("negative", "positive")

    def question(row: Any) -> Question:
        sentence = text_in(row, "sentence").strip()
        label = one_of(row, "label", (0, 1))
        choices = tuple(template.answer(sentence, word) for word in words)
        return Question(
            template.prompt(sentence),
            choices,
            (label == 0, label == 1),
            instruction=template.instruction,
            bare=sentence,
        )

    items, left_out = gathered(file, question)
    name = f"{ABOUT.name}:{file.name}"
    questions = Questions(tuple(items), name, left_out)
    read = PublishedSet.of_questions(ABOUT, questions)
    texts = [[q.bare for q in items if q.correct[1] is positive] for positive in (True, False)]
    pairs = ContrastivePairs.unpaired(*texts, name=name) if all(texts) else read.pairs
    return PublishedSet(ABOUT, questions, pairs, read.prompts, left_out=left_out)
