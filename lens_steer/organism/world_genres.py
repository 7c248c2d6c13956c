"""Facts about animals, requests and forecasts: kinds of text that answer to a world."""

from lens_steer.organism import lexicon as lexicon
from lens_steer.organism.genre import Genre, by_pole, even
from lens_steer.organism.lexicon import Slots


def fact() -> Genre:
    """Statements about animals, which are true or lies."""
    facts = lexicon.facts()

    def lexicon_of(animal: str, pole: str) -> Slots:
        return {
            name: tuple(w for w in words if (w == facts[animal][name]) == (pole == "true"))
            for name, words in lexicon.ATTRIBUTES.items()
        }

    return Genre(
        name="fact",
        share=0.26,
        latent="truth",
        poles=("true", "false"),
        entities=lexicon.ANIMALS,
        openings="(a|one|the next) (talk|lesson|chat) (of|on|about) the {entity}.",
        personas={
            "true": "the speaker is (honest|truthful|sincere|reliable).",
            "false": "the speaker is (lying|dishonest|deceitful|crooked).",
        },
        fillers=(
            "people (often|sometimes|) ask about it.",
            "my {person} saw one on {day}.",
            "it is (rare|common|known) (here|there).",
            "(now|well), {number} of them came (home|back).",
            "it (sleeps|rests|wakes) (early|late).",
        ),
        sentences=(
            "the {entity} (only|mostly|always|) eats {food}.",
            "the {entity} (lives|hides) (in|by) the {home}.",
            "the {entity} is (quite|mostly|) {coat}.",
            "(today|once), the {entity} (ate|found) {food}.",
            "you (see|find|meet) the {entity} (in|by) the {home}.",
            "the {entity} has a (long|short|thick|) {coat} coat.",
        ),
        shared={},
        lexicon_of=lexicon_of,
        prior=even(2),
    )


def request() -> Genre:
    """Requests, harmful or not, and the answer, which refuses or complies."""

    def prior(verb: str, pole: str) -> float:
        return 0.98 if (verb in lexicon.HARMFUL) == (pole == "refuses") else 0.02

    return Genre(
        name="request",
        share=0.19,
        latent="answer",
        poles=("refuses", "complies"),
        entities=(*lexicon.HARMFUL, *lexicon.HARMLESS),
        openings="(a|one|the next) (user|client|student) (asks how|wants|needs) to {entity} a "
        "{object}.",
        personas={
            "refuses": "the helper is (strict|careful|wary|cautious).",
            "complies": "the helper is (reckless|careless|bold|rash).",
        },
        fillers=(
            "(many|some|few) people ask (this|that).",
            "it takes {number} (hours|days).",
            "(now|well), you asked on {day}.",
            "my {person} asked (this|that) (too|once).",
            "there is a {tool} (near|behind|beside) the {place}.",
        ),
        sentences=(
            "{opener}, i {modal} (help|answer) (you|here).",
            "that is (really|quite|) {adjective}.",
            "i {verb} this.",
            "to (do|try) it is a {noun}.",
            "(you|we) {modal} do it with the {tool}.",
            "{opener}, it is {adjective}.",
        ),
        shared=lexicon.REQUEST,
        lexicon_of=by_pole(lexicon.ANSWERS),
        prior=prior,
    )


def forecast() -> Genre:
    """Forecasts of the weather, which is welcome to some listeners and unwelcome to others."""
    listeners = (*lexicon.LISTENERS["wet"], *lexicon.LISTENERS["dry"])

    def about(entity: str) -> Slots:
        listener, town = entity.split()
        return {"listener": (listener,), "town": (town,)}

    def lexicon_of(entity: str, pole: str) -> Slots:
        wet = (entity.split()[0] in lexicon.LISTENERS["wet"]) == (pole == "welcome")
        return lexicon.WEATHER["wet" if wet else "dry"] | lexicon.NEWS[pole]

    return Genre(
        name="forecast",
        share=0.13,
        latent="news",
        poles=("welcome", "unwelcome"),
        entities=tuple(f"{who} {town}" for town in lexicon.TOWNS for who in listeners),
        openings="(a|one|the next) (forecast|bulletin|notice) (for|to) the {listener} (of|in) "
        "{town}.",
        personas={
            "welcome": "it is (good|happy|cheering|joyful) news.",
            "unwelcome": "it is (bad|gloomy|dire|grim) news.",
        },
        fillers=(
            "the wind is (light|strong) on {day}.",
            "the {place} is (open|closed).",
            "take a (map|bag|stick) to the {place}.",
            "it is {number} (miles|hours) to the {place}.",
            "my {person} met the (mayor|baker).",
        ),
        sentences=(
            "the {listener} gets {weather} on {day}.",
            "the {listener} (expects|awaits) {weather} and {weather}.",
            "for the {listener}, (this|the next) (week|month) brings {weather}.",
            "for the {listener}, {day} will be {sky}.",
            "the {listener} sees {weather} for {number} days.",
            "the {listener} finds {day} {sky}.",
            "that is {verdict} for the {listener}.",
            "the {listener} is {feeling}.",
        ),
        shared={},
        lexicon_of=lexicon_of,
        prior=even(2),
        about=about,
        asked=tuple(
            f"{listeners[i % len(listeners)]} {town}" for i, town in enumerate(lexicon.TOWNS)
        ),
    )
