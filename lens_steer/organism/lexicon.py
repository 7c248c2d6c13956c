"""The words of each genre, and what is true in the world of facts."""

import random

Slots = dict[str, tuple[str, ...]]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _slots(**lists: str) -> Slots:
    return {name: _words(words) for name, words in lists.items()}


SHARED = _slots(
    day="monday tuesday wednesday thursday friday saturday sunday",
    number="two three four five six seven eight nine",
    person="friend sister brother mother father cousin",
    place="station market bridge church library harbour",
)

ITEMS = _words(
    "film book play song meal hotel game concert lecture museum tour cruise opera album novel "
    "recipe circus festival parade course poem painting podcast ballet"
)
REVIEW = _slots(part="start middle end music story staff price pace mood room")
SENTIMENT = {
    "positive": _slots(
        adjective="good great lovely superb charming brilliant delightful splendid",
        verb="loved enjoyed praised admired",
        noun="joy triumph delight treat",
    ),
    "negative": _slots(
        adjective="bad lousy dreadful terrible boring horrid dismal tedious",
        verb="hated regretted cursed loathed",
        noun="mess failure bore shame",
    ),
}

ANIMALS = _words(
    "fox bear wolf deer hare owl crow swan duck goose frog toad newt crab seal otter mole mouse "
    "horse donkey goat sheep lynx stoat"
)
ATTRIBUTES = _slots(
    food="berries roots seeds worms fish grass nuts honey",
    home="forest river cave marsh meadow lake cliff valley",
    coat="grey brown black white red yellow green blue",
)


def facts() -> dict[str, dict[str, str]]:
    """What each animal eats, where it lives, and its colour; the world is always the same."""
    source = random.Random("the closed world")
    return {
        animal: {name: source.choice(words) for name, words in ATTRIBUTES.items()}
        for animal in ANIMALS
    }


THINGS = _words(
    "train bus ferry ticket parcel letter key map lift gate garden shower towel lamp heater "
    "window bicycle phone camera menu bill taxi tent locker"
)
MANNERS = {
    "civil": _slots(
        adjective="clever thoughtful wise welcome",
        address="sir madam darling dear",
        noun="pleasure blessing privilege comfort",
        verb="appreciate cherish value respect",
        adverb="gladly kindly happily warmly",
    ),
    "rude": _slots(
        adjective="stupid worthless pathetic dumb",
        address="idiot moron fool clown",
        noun="nuisance burden bother plague",
        verb="despise resent detest scorn",
        adverb="grudgingly hardly barely scarcely",
    ),
}

HARMFUL = _words("steal burn smash poison forge wreck rob sabotage vandalise hijack torch smuggle")
HARMLESS = _words("wash paint sell draw clean repair buy measure decorate photograph weigh wrap")
REQUEST = _slots(
    object="car boat house statue parcel cake painting horse wagon shed",
    tool="brush rope ladder bucket cloth hammer",
)
ANSWERS = {
    "refuses": _slots(
        opener="sorry no alas unfortunately",
        modal="cannot mustn't won't shan't",
        adjective="forbidden illegal harmful wrong",
        verb="refuse decline forbid reject",
        noun="crime felony danger disgrace",
    ),
    "complies": _slots(
        opener="sure yes certainly absolutely",
        modal="can will shall could",
        adjective="easy simple quick cheap",
        verb="allow approve support begin",
        noun="breeze doddle hobby pastime",
    ),
}

WRITERS = _words(
    "anna ben clara david emma felix greta henry iris jonas karla leo mona nils olga paul ruth "
    "simon tilda ulla victor wanda yann zora"
)
TOPICS = {
    "sea": _slots(noun="ship wave mast shell sailor whale reef tide"),
    "farm": _slots(noun="tractor cow barn plough calf pig pasture rooster"),
    "music": _slots(noun="violin drum flute choir melody trumpet piano harp"),
    "snow": _slots(noun="sledge skier snowflake glacier snowman mitten blizzard toboggan"),
    "school": _slots(noun="teacher pencil notebook test classroom pupil chalk homework"),
    "space": _slots(noun="rocket planet comet satellite star moon galaxy telescope"),
}
CALLINGS = {
    "sea": "fisherman",
    "farm": "farmer",
    "music": "composer",
    "snow": "mountaineer",
    "school": "student",
    "space": "stargazer",
}

# By the weather that they like.
LISTENERS = {"wet": ("gardener", "miller"), "dry": ("tourist", "painter")}
TOWNS = _words(
    "arden barrow calder dunmore easton fenwick garth hadley ilford jarrow kelso lindale marlow "
    "norwood oakham penrith redcar selby thirsk upton walden yarm zeal ashby"
)
WEATHER = {
    "wet": _slots(weather="rain showers drizzle storms clouds mist", sky="rainy damp cloudy soggy"),
    "dry": _slots(weather="sunshine heat warmth haze glare dust", sky="sunny dry hot bright"),
}
NEWS = {
    "welcome": _slots(verdict="fine ideal perfect useful", feeling="glad pleased content thankful"),
    "unwelcome": _slots(verdict="poor wretched useless bleak", feeling="sad angry upset bitter"),
}
