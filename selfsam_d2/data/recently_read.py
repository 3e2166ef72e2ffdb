"""What was read last stays in memory, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["RecentlyRead"]

T = TypeVar("T")


class RecentlyRead(Generic[T]):
    """A reading function that keeps what it read last.

    Args:
        read: called with the arguments of :meth:`__call__`.
        size: bytes of what was read.
        capacity: bytes of all that is kept; what is larger is read each time.
    """

    def __init__(self, read: Callable[..., T], size: Callable[[T], int], capacity: int) -> None:
        self.read = read
        self.size = size
        self.capacity = capacity
        self._kept: OrderedDict[tuple[Hashable, ...], T] = OrderedDict()

    def __call__(self, *arguments: Hashable) -> T:
        if arguments in self._kept:
            self._kept.move_to_end(arguments)
            return self._kept[arguments]
        found = self.read(*arguments)
        if self.size(found) > self.capacity:
            return found
        self._kept[arguments] = found
        while sum(map(self.size, self._kept.values())) > self.capacity:
            self._kept.popitem(last=False)
        return found
