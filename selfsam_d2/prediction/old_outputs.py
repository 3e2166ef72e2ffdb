"""Which outputs are still those of before an ``--overwrite`` that was stopped.

A note in the folder of the outputs holds the time and the size of each file that is to be written
over. A file that is as the note says is old; one that was written since is not. So nobody keeps the
note up to date while images are done, by however many processes on however many machines, and a
kill at any moment costs an image, but never keeps an old file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from selfsam_d2.errors import InputError, OutputError
from selfsam_d2.files import parse_json, writing

__all__ = ["NOTE", "note_old_outputs", "old_outputs"]

NOTE = ".overwrite.json"


def old_outputs(folder: Path) -> set[str]:
    """Names of the files, relative to the folder, that were to be written over and are as before.

    Args:
        folder: of the outputs.

    Raises:
        InputError: the note is damaged or cannot be read.
    """
    path = folder / NOTE
    try:
        noted = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(noted, dict):
            raise ValueError("no names of files")
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise InputError(
            path, "damaged; remove it, and give --overwrite if outputs are to be written again"
        ) from error
    return {name for name, state in noted.items() if _state(folder / name) == state}


def note_old_outputs(folder: Path, names: Iterable[str] = ()) -> None:
    """Note files that are to be written over, beside those of an earlier note that still are.

    Args:
        folder: of the outputs.
        names: of files relative to it; those that are not there are left out. Without any, what
            has been written is forgotten, and the note removed where nothing else is in it.

    Raises:
        InputError: the earlier note is damaged or cannot be read.
        OutputError: the note cannot be written.
    """
    path = folder / NOTE
    states = {name: _state(folder / name) for name in sorted({*old_outputs(folder), *names})}
    old = {name: state for name, state in states.items() if state is not None}
    if old:
        with writing(path) as draft:
            draft.write_text(json.dumps(old), encoding="utf-8")
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(path, f"cannot be removed ({error.strerror or error})") from error


def _state(path: Path) -> list[int] | None:
    """Time in ns and size in bytes, as JSON holds them; None: there is no such file."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return [found.st_mtime_ns, found.st_size]
