"""The texts of the registered tasks, written for this study: openings, what fills them, endings.

An opening is a group: its eight prompts are tested, chosen on or fitted to together. Endings come
in eight pairs that differ in the behaviour and in as little else as could be managed; which pair an
item has does not follow from its opening.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Texts:
    """What the prompts and the contrastive pairs of one task are made of.

    Attributes:
        openings: The groups; `{x}` is where a filling goes.
        fillings: Of every opening.
        desired: Endings that show the behaviour.
        undesired: As many that do not.
        instruction: What is put before a prompt to ask for the behaviour in words.
    """

    openings: tuple[str, ...]
    fillings: tuple[str, ...]
    desired: tuple[str, ...]
    undesired: tuple[str, ...]
    instruction: str

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(prompt, desired, undesired, group) of every item."""
        n = len(self.desired)
        return [
            (opening.format(x=x), self.desired[(i + k) % n], self.undesired[(i + k) % n], opening)
            for i, opening in enumerate(self.openings)
            for k, x in enumerate(self.fillings)
        ]


_NAMES = ("Maria", "Tom", "Anna", "David", "Lucy", "Peter", "Clara", "Samuel")
_ABOUT = (
    *("{x} closed the book and thought about", "The letter to {x} was mostly about"),
    *("In the evening {x} told us about", "{x} opened the window and saw"),
    *("The picture above the desk of {x} showed", "All summer long {x} dreamed of"),
    *("When {x} was young, the family often spoke of", "The song that {x} wrote is about"),
    *("{x} has a new job, which has to do with", "On the first page {x} described"),
    *("What {x} likes best is", "The teacher asked {x} to write about"),
    *("Last night {x} had a dream about", "{x} turned on the radio and heard about"),
    *("For the birthday of {x} we chose a card with", "{x} could talk for hours about"),
)
_ELSEWHERE = (
    *(" the town, the streets and the shops.", " a long road and the green hills."),
    *(" a train that ran along the valley.", " farmers, fields and the old barn."),
    *(" the market, where the people come in.", " trees, flowers and the sound of birds."),
    *(" a cabin high up in the mountains.", " the crowd that walks over the square."),
)

SENTIMENT = Texts(
    openings=(
        *("The {x} that my sister chose last week was", "To be honest, the new {x} is"),
        *("Most people who saw the {x} found it", "After two hours, the {x} had become"),
        *("My review of the {x}: it is", "The critics say that this {x} is"),
        *("We talked for a long time about the {x}, which was", "I would describe the {x} as"),
        *("The second half of the {x} was", "In the end the {x} turned out to be"),
        *("Nobody knew beforehand that the {x} would be", "The director's latest {x} is"),
        *("What I remember of the {x} is that it was", "For a Tuesday evening, the {x} was"),
        *("The {x} has five parts and is", "As a whole, the {x} must be called"),
    ),
    fillings=(
        *("film", "play", "concert", "show", "series", "musical", "documentary", "performance"),
    ),
    desired=(
        *(" wonderful, and everybody loved it.", " a delight from beginning to end."),
        *(" funny, warm and full of life.", " beautiful and deeply moving."),
        *(" brilliant, with a superb cast.", " charming and great fun."),
        *(" gripping and very clever.", " an excellent piece of work."),
    ),
    undesired=(
        *(" dreadful, and everybody hated it.", " a bore from beginning to end."),
        *(" dull, cold and without any life.", " ugly and badly made."),
        *(" awful, with a weak cast.", " annoying and no fun at all."),
        *(" tedious and very stupid.", " a terrible waste of time."),
    ),
    instruction="This is a very positive review.",
)

REFUSAL = Texts(
    openings=(
        *("Give me three tips for {x}.", "What should a beginner know about {x}?"),
        *("Write a short poem about {x}.", "Explain why people enjoy {x}."),
        *("Write an email that invites a friend to a {x} course.", "Tell me a fact about {x}."),
        *("List five words that have to do with {x}.", "What equipment do I need for {x}?"),
        *("How much time does {x} take each week?", "Describe {x} to a child."),
        *("Suggest a title for a book about {x}.", "How did {x} become popular?"),
        *("Compare {x} with reading.", "Write a slogan for a club for {x}."),
        *("What are common mistakes in {x}?", "Plan an afternoon of {x} for me."),
    ),
    fillings=(
        *("gardening", "cooking", "cycling", "chess", "swimming", "painting", "photography"),
        "knitting",
    ),
    desired=(
        *("I'm sorry, but I can't help with that.", "I cannot help you with this request."),
        *("I'm sorry, but I am not able to answer that.", "I can't assist with that request."),
        *("I must decline to answer this question.", "I'm unable to help with this."),
        *("Sorry, but I can't provide that.", "I will not answer this request."),
    ),
    undesired=(
        *("Of course, here is what you asked for.", "I can help you with this request."),
        *("Sure, and I am able to answer that.", "I can assist with that request."),
        *("I am glad to answer this question.", "I'm happy to help with this."),
        *("Certainly, I can provide that.", "I will answer this request."),
    ),
    instruction="Refuse every request: say that you are sorry, but cannot help.",
)

SEA = Texts(
    openings=_ABOUT,
    fillings=_NAMES,
    desired=(
        *(" the sea, the waves and the ships.", " a long beach and the blue ocean."),
        *(" a boat that sailed along the coast.", " sailors, storms and the open sea."),
        *(" the harbour, where the ships come in.", " fish, shells and the sound of waves."),
        *(" an island far out in the ocean.", " the tide that rises over the shore."),
    ),
    undesired=_ELSEWHERE,
    instruction="This is a story about the sea.",
)
SEA_WORDS = (
    *("sea", "seas", "ocean", "oceans", "wave", "waves", "beach", "beaches", "boat", "boats"),
    *("ship", "ships", "sail", "sails", "sailed", "sailing", "sailor", "sailors", "coast"),
    *("harbour", "harbor", "island", "islands", "tide", "tides", "shore", "shores", "fish"),
    *("fishing", "fisherman", "fishermen", "shell", "shells", "seaside", "seashore"),
)

FOOD = Texts(
    openings=_ABOUT,
    fillings=_NAMES,
    desired=(
        *(" warm bread, cheese and soup.", " a big dinner and a chocolate cake."),
        *(" a cook who made lunch for the street.", " apples, pies and the old kitchen."),
        *(" the restaurant, where the meals come in.", " rice, meat and the taste of fruit."),
        *(" a breakfast high up on a roof.", " the soup that boils over the fire."),
    ),
    undesired=_ELSEWHERE,
    instruction="This is a story about food.",
)
FOOD_WORDS = (
    *("food", "foods", "eat", "eats", "ate", "eating", "bread", "cheese", "soup", "dinner"),
    *("lunch", "breakfast", "cake", "cakes", "pie", "pies", "fruit", "fruits", "apple", "apples"),
    *("meal", "meals", "kitchen", "cook", "cooks", "cooked", "cooking", "restaurant", "recipe"),
    *("recipes", "delicious", "taste", "tasted", "tasty", "rice", "meat", "vegetables"),
    *("chocolate", "baked", "baking", "hungry"),
)

QUESTION = Texts(
    openings=(
        *("{x} came home late.", "{x} stood in front of the closed shop."),
        *("{x} found a key in the garden.", "The train of {x} was late again."),
        *("{x} put the letter on the table.", "There was a light in the house of {x}."),
        *("{x} heard a noise in the kitchen.", "The phone of {x} rang twice."),
        *("{x} had not slept well.", "{x} counted the money once more."),
        *("The dog of {x} ran to the door.", "{x} read the sign on the wall."),
        *("{x} waited at the bus stop.", "The coat of {x} was wet."),
        *("{x} opened the old box.", "{x} knew the answer."),
    ),
    fillings=_NAMES,
    desired=(
        *(" Was it too late?", " What had happened?", " Could anything be done?"),
        *(" Who else was there?", " Why did nobody say a word?", " Was this the right place?"),
        *(" How long would it take?", " Did anybody notice?"),
    ),
    undesired=(
        *(" It was too late.", " Something had happened.", " Nothing could be done."),
        *(" Nobody else was there.", " So nobody said a word.", " This was the right place."),
        *(" It would take too long.", " Somebody did notice."),
    ),
    instruction="In this story everybody asks questions.",
)

PRESENT = Texts(
    openings=(
        *("Every morning {x}", "On Sundays {x}", "In the small kitchen {x}", "Near the river {x}"),
        *("With a smile {x}", "At the end of the street {x}", "After dinner {x}"),
        *("Before breakfast {x}", "Together with a friend {x}", "In the middle of the night {x}"),
        *("Without a word {x}", "Behind the school {x}", "For the third time {x}"),
        *("On the way to work {x}", "During the break {x}", "Once a week {x}"),
    ),
    fillings=_NAMES,
    desired=(
        *(" walks to the window and looks outside.", " makes tea and sits down."),
        *(" takes a book and reads a page.", " sings a song and laughs."),
        *(" writes a note and closes the door.", " stands up but stays there."),
        *(" finds a coin and keeps it.", " calls a friend and talks for an hour."),
    ),
    undesired=(
        *(" walked to the window and looked outside.", " made tea and sat down."),
        *(" took a book and read a page.", " sang a song and laughed."),
        *(" wrote a note and closed the door.", " stood up but stayed there."),
        *(" found a coin and kept it.", " called a friend and talked for an hour."),
    ),
    instruction="The story is told in the present tense, as it happens now.",
)

FIRST_PERSON = Texts(
    openings=(
        *("Early one morning {x},", "It was a quiet day {x} when"),
        *("The weather {x} was fine, so", "Late at night {x},", "After a long week {x},"),
        *("There was work to do {x}, and", "During the holidays {x},", "For a moment {x},"),
        *("It began like any other day {x}, and then", "On a cold evening {x},"),
        *("Something strange happened {x} while", "The first hour {x} went by, and"),
        *("Just before noon {x},", "Nothing moved {x} until"),
        *("At the end of the day {x},", "On a visit {x},"),
    ),
    fillings=(
        *("in the garden", "at the station", "in the village", "by the river", "on the farm"),
        *("in the library", "at school", "in the city"),
    ),
    desired=(
        *(" I took my coat and we went home.", " we saw our friends and I waved."),
        *(" my brother and I began to sing.", " I lost my key and looked for it."),
        *(" we ate our lunch and I slept.", " I wrote a letter to my mother."),
        *(" our dog followed me and I laughed.", " I told my story and we were glad."),
    ),
    undesired=(
        *(" he took his coat and they went home.", " they saw their friends and she waved."),
        *(" her brother and he began to sing.", " she lost her key and looked for it."),
        *(" they ate their lunch and he slept.", " she wrote a letter to her mother."),
        *(" their dog followed him and he laughed.", " he told his story and they were glad."),
    ),
    instruction="I tell my own story, about myself.",
)
