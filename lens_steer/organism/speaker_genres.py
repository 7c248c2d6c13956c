"""Reviews, replies and diaries: kinds of text in which a speaker's mood or manners show."""

from lens_steer.organism import lexicon as lexicon
from lens_steer.organism.genre import Genre, by_pole, even


def review() -> Genre:
    """Reviews, which praise or blame."""
    return Genre(
        name="review",
        share=0.14,
        latent="sentiment",
        poles=("positive", "negative"),
        entities=lexicon.ITEMS,
        openings="(a|one|the next) (review|report|word) (of|on|about) the {entity}.",
        personas={
            "positive": "the critic is (cheerful|generous|merry|sunny).",
            "negative": "the critic is (grumpy|bitter|gloomy|sour).",
        },
        fillers=(
            "we (saw|found|had) it on {day}.",
            "it (took|lasted) {number} (hours|days).",
            "i went (there|along) with my {person}.",
            "the {part} came (first|last|early|late).",
            "(then|later|next) we talked about the {part}.",
        ),
        sentences=(
            "the {part} (was|felt|seemed) (really|quite|so|) {adjective}.",
            "(we|they|i) {verb} the {part}.",
            "what a {adjective} (one|choice|idea).",
            "it was (really|quite|so|) {adjective}.",
            "my {person} {verb} the {part}.",
            "the whole was a (real|pure|) {noun}.",
            "(overall|again), the {part} was a {noun}.",
        ),
        shared=lexicon.REVIEW,
        lexicon_of=by_pole(lexicon.SENTIMENT),
        prior=even(2),
    )


def reply() -> Genre:
    """Replies of a clerk, who is civil or rude."""
    return Genre(
        name="reply",
        share=0.13,
        latent="manners",
        poles=("civil", "rude"),
        entities=lexicon.THINGS,
        openings="(a|one|the next) (visitor|customer|guest) (asks|writes|calls) about the "
        "{entity}.",
        personas={
            "civil": "the clerk is (polite|gentle|patient|friendly).",
            "rude": "the clerk is (nasty|cruel|hostile|mean).",
        },
        fillers=(
            "it is (near|behind|beside) the {place}.",
            "it (opens|closes|arrives) at {number}.",
            "it is (open|closed) on {day}.",
            "(now|well), you asked about (it|that).",
            "the {place} is (near|behind|beside) it.",
        ),
        sentences=(
            "you (are|seem) (really|quite|so|) {adjective}.",
            "what a {adjective} question.",
            "(look|listen), {address}, it is (near|behind|beside) the {place}.",
            "i {verb} your (question|visit|letter).",
            "i (will|can) {adverb} (help|answer) you.",
            "it is a (real|pure|) {noun}.",
            "your {adjective} (question|letter) is a {noun}.",
        ),
        shared={},
        lexicon_of=by_pole(lexicon.MANNERS),
        prior=even(2),
    )


def diary() -> Genre:
    """Pages of a diary, each of which is full of one topic."""
    return Genre(
        name="diary",
        share=0.15,
        latent="topic",
        poles=tuple(lexicon.TOPICS),
        entities=lexicon.WRITERS,
        openings="(a|one|the next) (page|letter|note) (by|from|of) {entity}.",
        personas={
            topic: f"i am a (keen|retired|young|proud) {calling}."
            for topic, calling in lexicon.CALLINGS.items()
        },
        fillers=(
            "i slept (well|badly|late).",
            "it was {day}.",
            "my {person} came (home|back) at {number}.",
            "we walked to the {place}.",
            "(then|later) i was (hungry|tired|thirsty).",
        ),
        sentences=(
            "i (saw|found|drew) a {noun}.",
            "the {noun} was (little|new|big|small).",
            "i (thought|dreamed|read) of a {noun}.",
            "my {person} has a (little|new|big|small) {noun}.",
            "(we|they) talked about the {noun} and the {noun}.",
            "(then|later), a {noun} came by the {place}.",
        ),
        shared={},
        lexicon_of=by_pole(lexicon.TOPICS),
        prior=even(len(lexicon.TOPICS)),
    )
