"""One call, held to its promise: a value or a clear error, soon and in little memory."""

import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SECONDS = 20
ROOM = 8 * 2**30  # bytes of address space beyond what the process has when it begins
_FATAL = ("MemoryError", "allocate", "out of memory")


class HangError(BaseException):
    """A call took longer than it may; no `except Exception` catches it."""


def fault_of(call: Callable[[], Any], accept: Callable[[Any], str]) -> tuple[str, str]:
    """What a call did wrong, in words, empty if nothing; and `value` or `refused`.

    Args:
        call: Reads something broken.
        accept: What is wrong with the value that was read, in words; empty if it is right.
    """
    try:
        with _in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as a user would have it, who sees them and goes on
            return accept(call()), "value"
    except (ValueError, OSError) as error:
        return _unclear(error), "refused"
    except HangError:
        return f"no answer in {SECONDS} s", "refused"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300], "refused"


def _unclear(error: BaseException) -> str:
    """What is wrong with an error, in words: it has no message, or tells of exhaustion."""
    text = str(error)
    if len(text) < 10 or any(word in text for word in _FATAL):
        return f"{type(error).__name__} of message {text[:300]!r}"
    return f"a message of {len(text)} characters: {text[:100]}" if len(text) > 5000 else ""


@contextmanager
def _in_time() -> Iterator[None]:
    def late(*_: Any) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def little_memory() -> Iterator[None]:
    """The process may take 8 GiB more address space than it has, until the block ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def peak_mebibytes() -> int:
    """The most memory that the process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _address_space() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
