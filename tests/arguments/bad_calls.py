"""Every public function is called wrongly, in a process without the shape checks of the tests.

`python -m tests.arguments.bad_calls` prints one JSON object: how many calls, and those that were
not refused clearly. A refusal is clear if it is a TypeError or ValueError that names the argument
and says what was expected; a call that returns was accepted; one that takes seconds hangs.
"""

import inspect
import json
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lens_steer.arguments.hints import resolved
from tests.arguments.bad_values import bad_values
from tests.arguments.hand_picked import hand_picked
from tests.arguments.public_names import public_callables

SECONDS = 10


def by_rule() -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Calls with one bad argument each: (what is called, the argument, the call)."""
    for dotted, function in public_callables().items():
        target = function.__init__ if inspect.isclass(function) else function
        if not inspect.isroutine(inspect.unwrap(target)) or not hasattr(
            inspect.unwrap(getattr(target, "__func__", target)), "__code__"
        ):
            continue  # an enumeration, or a class without arguments
        parameters = inspect.signature(function).parameters
        hints = resolved(getattr(target, "__func__", target))
        accepts = {p.name: p for p in parameters.values()}
        for name, parameter in accepts.items():
            if name in ("self", "cls"):
                continue
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            for value in bad_values(name, hints.get(name, parameter.annotation)):
                others = {n: "anything" for n in _free(accepts, hints) if n != name}
                call = _Call(function, {**others, name: value})
                yield f"{dotted}({name}={value!r})", name, call
        if accepts and not any(p.kind is p.VAR_KEYWORD for p in accepts.values()):
            call = _Call(function, {"no_such_keyword": 1})
            yield f"{dotted}(no_such_keyword=1)", "no_such_keyword", call


def _free(parameters: Mapping[str, inspect.Parameter], hints: Mapping[str, Any]) -> list[str]:
    """Required parameters that take anything."""
    required = [p for p in parameters.values() if p.default is p.empty and p.name != "self"]
    return [p.name for p in required if hints.get(p.name, p.annotation) is Any]


class _Call:
    """A call with keywords; a method is called on the class with an object that is never used."""

    def __init__(self, function: Callable[..., Any], keywords: dict[str, Any]) -> None:
        self.function = function
        self.keywords = keywords

    def __call__(self) -> Any:
        unbound = (
            inspect.isfunction(self.function)
            and "self" in inspect.signature(self.function).parameters
        )
        places = (object(),) if unbound else ()
        return self.function(*places, **self.keywords)


def outcome(argument: str, call: Callable[[], Any]) -> tuple[str, str]:
    """clear, unclear, accepted or hang, with the message."""
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        call()
    except TimeoutError:
        return "hang", ""
    except (TypeError, ValueError) as error:
        text = str(error)
        named = argument.split("[")[0] in text
        says = any(word in text for word in ("expected", "It takes", "no seed: sampling needs one"))
        return ("clear" if named and says else "unclear"), f"{type(error).__name__}: {text}"
    except Exception as error:
        return "unclear", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return "accepted", ""


def _too_long(*_: Any) -> None:
    raise TimeoutError


def main() -> None:
    """Try all calls and print what came of them."""
    counts: Counter[str] = Counter()
    faults: list[tuple[str, str, str]] = []
    for calls in (by_rule(), hand_picked()):
        for words, argument, call in calls:
            kind, message = outcome(argument, call)
            counts[kind] += 1
            if kind != "clear":
                faults.append((kind, words, message[:300]))
    json.dump({"counts": counts, "faults": faults}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
