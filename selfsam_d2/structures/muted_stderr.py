"""File descriptor 2 muted for a while, whatever the number of threads that ask for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

__all__ = ["Shared", "muted_stderr"]

STDERR = 2


class Shared:
    """A change of the whole process that lasts from the first of those who ask to the last.

    Two threads that made and unmade such a change each for itself would undo it for each other, or
    leave it behind for ever.

    Args:
        change: makes the change when it is entered and undoes it when it is left.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[None]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._count = 0
        self._made = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._count == 0:
                self._made.enter_context(self._change())
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if self._count == 0:
                    self._made.close()


@contextmanager
def _redirected() -> Iterator[None]:
    try:
        original = os.dup(STDERR)
    except OSError:  # closed by the caller: nothing can appear on it
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), STDERR)
        yield
    finally:
        os.dup2(original, STDERR)
        os.close(original)


_redirection = Shared(_redirected)


def muted_stderr() -> AbstractContextManager[None]:
    """Drop what is written to file descriptor 2, by libraries in C as well, in a ``with``.

    It may be nested and used by several threads at once: the last one to leave ends it.
    """
    return _redirection()
