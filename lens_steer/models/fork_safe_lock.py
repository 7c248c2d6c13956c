"""A lock that a forked process can take."""

import os
from threading import RLock


class ForkSafeLock:
    """A re-entrant lock that is free in a forked child, whoever held it in the parent.

    The thread that held it does not exist in the child and could never release it there.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
