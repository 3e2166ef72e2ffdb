"""Files that are written whole or not at all, and JSON that is read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfsam_d2.errors import OutputError

__all__ = ["parse_json", "writing"]


@contextmanager
def writing(path: str | Path, *, shared: bool = False, remedy: str = "") -> Iterator[Path]:
    """A path to write to that becomes ``path`` when all went well, and is removed otherwise.

    A reader, and who goes on after a crash, finds the old file or the whole new one. The folder is
    made.

    Args:
        path: the file.
        shared: other processes may write the same file at the same time.
        remedy: what a user can do where it cannot be written, for the message.

    Raises:
        OutputError: it cannot be written, as on a full disk; what was there before is as it was.
    """
    path = Path(path)
    owner = f".{os.getpid()}" if shared else ""
    unfinished = path.with_name(f".{path.name}{owner}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            _flush(unfinished)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise OutputError(path, f"{problem}; {remedy}" if remedy else problem) from error


def parse_json(text: str) -> Any:
    """What ``json.loads`` gives, with one kind of error.

    Raises:
        ValueError: it is not JSON, or nested more deeply than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _flush(path: Path) -> None:
    """Bring a file to the disk, so that a power cut cannot leave an empty one under its name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
