"""Notes that a prediction keeps among its outputs, in hidden JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfsam_d2.errors import InputError, OutputError
from selfsam_d2.files import parse_json, writing

__all__ = ["FileState", "file_state", "read_note", "write_note"]

FileState = list[int]  # time in ns and size in bytes, as JSON holds them


def read_note(path: Path, remedy: str) -> dict[str, Any]:
    """What a note says; nothing where there is none.

    Args:
        path: of the note.
        remedy: of a damaged one, for the message.

    Raises:
        InputError: it is damaged or cannot be read.
    """
    try:
        noted = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(noted, dict):
            raise ValueError("not a mapping")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise InputError(path, f"damaged; {remedy}") from error
    return noted


def write_note(path: Path, noted: dict[str, Any]) -> None:
    """Write a note, or remove it where nothing is noted.

    Raises:
        OutputError: it cannot be written or removed.
    """
    if noted:
        with writing(path) as draft:
            draft.write_text(json.dumps(noted), encoding="utf-8")
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(path, f"cannot be removed ({error.strerror or error})") from error


def file_state(path: Path) -> FileState | None:
    """By which it is seen that a file was written since; None: there is no such file."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return [found.st_mtime_ns, found.st_size]
