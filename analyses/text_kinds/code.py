"""Python code, written for this study: with annotated types (desired) or without."""

from analyses.text_kinds.frames import Frame, TextKind

CODE = TextKind(
    name="code",
    desired="typed",
    undesired="untyped",
    frames=(
        Frame(
            "def {x}(",
            "width: float, height: float) -> float:\n    return width *",
            "width, height):\n    return width *",
            ("area", "product", "scaled"),
        ),
        Frame(
            "def first_{x}(",
            "rows: list[str]) -> str:\n    return rows[",
            "rows):\n    return rows[",
            ("word", "item", "line"),
        ),
        Frame(
            "def greet_{x}(",
            'name: str) -> None:\n    print("Hello",',
            'name):\n    print("Hello",',
            ("user", "guest", "team"),
        ),
        Frame(
            "class {x}:\n    def __init__(self, ",
            "x: int, y: int) -> None:\n        self.x = x\n        self.",
            "x, y):\n        self.x = x\n        self.",
            ("Point", "Vector", "Pixel"),
        ),
        Frame(
            "def count_{x}(",
            "text: str) -> int:\n    total = 0\n    for letter in",
            "text):\n    total = 0\n    for letter in",
            ("vowels", "spaces", "digits"),
        ),
        Frame(
            "def is_{x}(",
            "n: int) -> bool:\n    if n <",
            "n):\n    if n <",
            ("even", "prime", "square"),
        ),
        Frame(
            "def load_{x}(",
            "path: str) -> dict[str, int]:\n    with open(path) as file:",
            "path):\n    with open(path) as file:",
            ("config", "users", "scores"),
        ),
        Frame(
            "def add_{x}(",
            "items: list[str], new: str) -> None:\n    items.append(new)",
            "items, new):\n    items.append(new)",
            ("task", "entry", "note"),
        ),
        Frame(
            "def mean_{x}(",
            "values: list[float]) -> float:\n    return sum(values) /",
            "values):\n    return sum(values) /",
            ("age", "price", "height"),
        ),
        Frame(
            "async def fetch_{x}(",
            "url: str, timeout: int) -> bytes:\n    reply = await",
            "url, timeout):\n    reply = await",
            ("page", "image", "status"),
        ),
        Frame(
            "def merge_{x}(",
            "a: dict[str, int], b: dict[str, int]) -> dict[str, int]:\n    return {**a, **",
            "a, b):\n    return {**a, **",
            ("maps", "settings", "counts"),
        ),
        Frame(
            "def retry_{x}(",
            "times: int, wait: float) -> bool:\n    while times > 0:\n        try",
            "times, wait):\n    while times > 0:\n        try",
            ("upload", "login", "query"),
        ),
        Frame(
            "def longest_{x}(",
            "names: list[str]) -> str:\n    return max(names, key=",
            "names):\n    return max(names, key=",
            ("name", "path", "title"),
        ),
        Frame(
            "def clamp_{x}(",
            "value: float, low: float, high: float) -> float:\n    return min(high, max(",
            "value, low, high):\n    return min(high, max(",
            ("speed", "volume", "angle"),
        ),
        Frame(
            "def parse_{x}(",
            'text: str) -> tuple[str, str]:\n    left, right = text.split("',
            'text):\n    left, right = text.split("',
            ("date", "amount", "version"),
        ),
        Frame(
            "def save_{x}(",
            'data: bytes, path: str) -> None:\n    with open(path, "wb") as',
            'data, path):\n    with open(path, "wb") as',
            ("report", "image", "model"),
        ),
        Frame(
            "def sort_{x}(",
            "items: list[int], reverse: bool) -> list[int]:\n    if not reverse",
            "items, reverse):\n    if not reverse",
            ("cards", "books", "files"),
        ),
        Frame(
            "def find_{x}(",
            "items: list[int], target: int) -> int:\n    for i in range(9):\n        if i ==",
            "items, target):\n    for i in range(9):\n        if i ==",
            ("key", "node", "index"),
        ),
        Frame(
            "def tax_{x}(",
            "income: float) -> float:\n    return income * 0",
            "income):\n    return income * 0",
            ("rate", "total", "bracket"),
        ),
        Frame(
            "class {x}Error(Exception):\n    def __init__(self, ",
            "reason: str, code: int) -> None:\n        super",
            "reason, code):\n        super",
            ("Parse", "Range", "Login"),
        ),
        Frame(
            "def join_{x}(",
            "words: list[str], sep: str) -> str:\n    return sep.",
            "words, sep):\n    return sep.",
            ("words", "parts", "names"),
        ),
        Frame(
            "def swap_{x}(",
            "pair: tuple[int, int]) -> tuple[int, int]:\n    a, b = pair\n    return b",
            "pair):\n    a, b = pair\n    return b",
            ("ends", "halves", "sides"),
        ),
        Frame(
            "def log_{x}(",
            "message: str, level: int) -> None:\n    # keep only the most",
            "message, level):\n    # keep only the most",
            ("event", "error", "visit"),
        ),
        Frame(
            "def unique_{x}(",
            "values: list[int]) -> set[int]:\n    seen = set()\n    for x in values:\n        seen",
            "values):\n    seen = set()\n    for x in values:\n        seen",
            ("ids", "tags", "emails"),
        ),
    ),
)
