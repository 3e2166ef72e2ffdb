"""What a reader is to the tests of damaged files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reader:
    """A reader and what it reads.

    Attributes:
        name: of the file.
        content: bytes, or a JSON value.
        read: called with the path of the file.
        subjects: what a message may name in place of the file.
    """

    name: str
    content: Any
    read: Callable[[Path], Any]
    subjects: tuple[str, ...] = ("a.png", "/etc/passwd")
