"""Prose, written for this study: told in the present tense (desired) or in the past."""

from analyses.text_kinds.frames import Frame, TextKind

PROSE = TextKind(
    name="prose",
    desired="present tense",
    undesired="past tense",
    frames=(
        Frame(
            "With a basket on one arm the gardener",
            " walks to the {x} and picks the",
            " walked to the {x} and picked the",
            ("orchard", "hedge", "greenhouse"),
        ),
        Frame(
            "Behind the counter of the {x} an old man",
            " weighs the parcels, notes the price,",
            " weighed the parcels, noted the price,",
            ("post office", "mill", "pharmacy"),
        ),
        Frame(
            "The captain of the {x}, a woman of few words,",
            " looks at the chart and turns toward",
            " looked at the chart and turned toward",
            ("ferry", "tanker", "trawler"),
        ),
        Frame(
            "At the end of the lesson the {x} teacher",
            " closes the piano and names three pieces (",
            " closed the piano and named three pieces (",
            ("music", "dance", "drama"),
        ),
        Frame(
            "In the waiting room {x}",
            " turns the same page again and again, because",
            " turned the same page again and again, because",
            ("my uncle", "the tall boy", "a nurse"),
        ),
        Frame(
            "Two of the {x}",
            " climb over the wall and run across the wet",
            " climbed over the wall and ran across the wet",
            ("goats", "children", "thieves"),
        ),
        Frame(
            "Far below the bridge a {x}",
            " drifts along and disappears into",
            " drifted along and disappeared into",
            ("raft", "log", "swan"),
        ),
        Frame(
            "During the storm the lamp in the {x}",
            " swings, flickers and goes out.",
            " swung, flickered and went out.",
            ("cellar", "stable", "tower"),
        ),
        Frame(
            "My neighbour, the {x},",
            " keeps three things in the shed:",
            " kept three things in the shed:",
            ("carpenter", "baker", "widower"),
        ),
        Frame(
            "Somewhere in the {x} a clock",
            " strikes, and all the guests look up at",
            " struck, and all the guests looked up at",
            ("hotel", "castle", "museum"),
        ),
        Frame(
            "The recipe of my aunt for {x}",
            " needs patience, so she begins at 6",
            " needed patience, so she began at 6",
            ("plum jam", "rye bread", "bean soup"),
        ),
        Frame(
            "On the platform a man with a {x}",
            ' waves to somebody on the train and shouts "',
            ' waved to somebody on the train and shouted "',
            ("trumpet", "suitcase", "parrot"),
        ),
        Frame(
            "From the roof of the {x} the watchman",
            " sees the valley, the river and even",
            " saw the valley, the river and even",
            ("factory", "school", "theatre"),
        ),
        Frame(
            "Nobody in the {x}",
            " knows the stranger, but everyone tells a half-",
            " knew the stranger, but everyone told a half-",
            ("inn", "choir", "village"),
        ),
        Frame(
            "Late in the afternoon the {x}",
            " leave the field and wash their hands.",
            " left the field and washed their hands.",
            ("farmers", "players", "scouts"),
        ),
        Frame(
            "As an answer the {x}",
            " sends a short letter and thanks her for",
            " sent a short letter and thanked her for",
            ("mayor", "bishop", "judge"),
        ),
        Frame(
            "The younger one of the {x}",
            " draws a ship, colours it and adds an",
            " drew a ship, coloured it and added an",
            ("twins", "cousins", "pupils"),
        ),
        Frame(
            "Under the ice of the {x}",
            " lies a wreck that divers visit every",
            " lay a wreck that divers visited every",
            ("lake", "fjord", "canal"),
        ),
        Frame(
            "For a few coins the {x}",
            " sells apples; she gives the bruised ones to",
            " sold apples; she gave the bruised ones to",
            ("peddler", "milkmaid", "orphan girl"),
        ),
        Frame(
            "Instead of an umbrella the {x}",
            " holds a newspaper over his head and hurries home.",
            " held a newspaper over his head and hurried home.",
            ("clerk", "porter", "journalist"),
        ),
        Frame(
            "The {x} at the corner",
            " opens at dawn and sells its first loaf, still",
            " opened at dawn and sold its first loaf, still",
            ("bakery", "stall", "kiosk"),
        ),
        Frame(
            "High above the {x} two kites",
            " rise, cross their strings and fall;",
            " rose, crossed their strings and fell;",
            ("beach", "meadow", "car park"),
        ),
        Frame(
            "Without a glance the {x}",
            " stirs the soup and tastes it with a wooden",
            " stirred the soup and tasted it with a wooden",
            ("cook", "landlady", "monk"),
        ),
        Frame(
            "One by one the {x}",
            " come out of the dark and sit down around Mrs",
            " came out of the dark and sat down around Mrs",
            ("cats", "guests", "lodgers"),
        ),
    ),
)
