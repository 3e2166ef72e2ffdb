"""Follow the instructions of a pickle that make plain containers and known objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from selfsam_d2.errors import shortened

__all__ = ["PickleStack", "UnknownContentError"]

# Instructions whose argument, already read by pickletools, is put on the stack.
ARGUMENTS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
WITHOUT_EFFECT = frozenset({"PROTO", "FRAME", "STOP"})


class UnknownContentError(Exception):
    """A pickle holds something else than it may; the text says what, after the file's name."""


class PickleStack:
    """Stack and memo of a pickle that is followed.

    What may be named and called is ``stand_ins``; what they return may have ``build(state)``.
    Keys of dicts are texts only: the hash of tuples that hold each other takes for ever.

    Args:
        stand_ins: name with module, such as ``numpy.dtype`` → what is called in its place.

    Attributes:
        items: what lies on the stack; at the end of a pickle its content.
    """

    def __init__(self, stand_ins: Mapping[str, Callable[..., Any]]) -> None:
        self.items: list[Any] = []
        self._stand_ins = stand_ins
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def follow(self, name: str, argument: Any) -> None:
        """Do what an instruction says.

        Args:
            name: of the instruction, as :mod:`pickletools` has it.
            argument: its argument, None where it has none.

        Raises:
            UnknownContentError: the instruction, or what it names, is of something else.
            Exception: any other, the pickle is damaged.
        """
        if name in ARGUMENTS:
            self.items.append(argument)
        elif name in CONSTANTS:
            self.items.append(CONSTANTS[name])
        elif name in TUPLES:
            self.items.append(tuple(self._last(TUPLES[name])))
        elif not (self._collect(name) or self._remember(name, argument) or self._call(name)):
            if name == "GLOBAL":
                self.items.append(self._named(argument.replace(" ", ".", 1)))
            elif name not in WITHOUT_EFFECT:
                raise UnknownContentError(f"holds the instruction {name}")

    def _collect(self, name: str) -> bool:
        """Instructions of containers; whether it was one."""
        items = self.items
        match name:
            case "MARK":
                self._marks.append(len(items))
            case "EMPTY_DICT":
                items.append({})
            case "EMPTY_LIST":
                items.append([])
            case "TUPLE":
                items.append(tuple(self._since_mark()))
            case "LIST":
                items.append(self._since_mark())
            case "DICT":
                pairs = self._since_mark()
                items.append({})
                self._put(pairs)
            case "APPEND":
                (item,) = self._last(1)
                items[-1].append(item)
            case "APPENDS":
                added = self._since_mark()
                items[-1].extend(added)
            case "SETITEM":
                self._put(self._last(2))
            case "SETITEMS":
                self._put(self._since_mark())
            case _:
                return False
        return True

    def _remember(self, name: str, argument: Any) -> bool:
        """Instructions of the memo; whether it was one."""
        match name:
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self.items[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = self.items[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self.items.append(self._memo[argument])
            case _:
                return False
        return True

    def _call(self, name: str) -> bool:
        """Instructions that name or call something; whether it was one."""
        match name:
            case "STACK_GLOBAL":
                self.items.append(self._named(".".join(self._last(2))))
            case "REDUCE":
                called, arguments = self._last(2)
                if not any(called is each for each in self._stand_ins.values()):
                    raise UnknownContentError("calls something that is not named")
                if not isinstance(arguments, tuple):
                    raise UnknownContentError("calls something without a tuple")
                self.items.append(called(*arguments))
            case "BUILD":
                (state,) = self._last(1)
                self.items[-1].build(state)
            case _:
                return False
        return True

    def _named(self, name: str) -> Callable[..., Any]:
        if name not in self._stand_ins:
            raise UnknownContentError(f"refers to {shortened(ascii(name)[1:-1])}")
        return self._stand_ins[name]

    def _last(self, count: int) -> list[Any]:
        if count > len(self.items):
            raise IndexError(count)
        taken, self.items[-count:] = self.items[-count:], []
        return taken

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        taken, self.items[start:] = self.items[start:], []
        return taken

    def _put(self, pairs: list[Any]) -> None:
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str):
                raise UnknownContentError("has keys that are no texts")
            self.items[-1][key] = value
