"""Files that are written whole or not at all, how reading arrays fails, and JSON that is read."""

from __future__ import annotations

import json
import lzma
import os
import re
import secrets
import struct
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from selfsam_d2.errors import OutputError

__all__ = [
    "ARRAY_ERRORS",
    "drop_unfinished_line",
    "kept_arrays",
    "parse_json",
    "remove_killed_drafts",
    "writing",
]

# What numpy and zipfile raise on a damaged .npy or .npz file, depending on the broken byte.
ARRAY_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    LookupError,  # a missing array
    TypeError,  # one array where several are expected, in a "with" statement too
    AttributeError,
    ArithmeticError,
    EOFError,
    SyntaxError,  # of the header of a .npy file, as the next
    tokenize.TokenError,
    MemoryError,  # such a header can ask for any size
    RuntimeError,  # zipfile: encrypted, or a compression that it does not know
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
TOKEN_BYTES = 8
SHARED_DRAFT = re.compile(rf"\..+\.[0-9a-f]{{{2 * TOKEN_BYTES}}}\.part")
KILLED_AFTER = 24 * 3600  # s without a change; no file of this package takes as long


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
    # Machines and containers that share a folder have the same process numbers.
    owner = f".{secrets.token_hex(TOKEN_BYTES)}" if shared else ""
    unfinished = path.with_name(f".{path.name}{owner}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if shared:
            remove_killed_drafts(path.parent)
        try:
            yield unfinished
            _flush(unfinished)
            os.replace(unfinished, path)
            # Else a power cut could keep the name of a later file, and not of this one.
            with suppress(OSError):  # file systems that have no such thing
                _flush(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise OutputError(path, f"{problem}; {remedy}" if remedy else problem) from error


@cache
def remove_killed_drafts(folder: Path) -> None:
    """Remove what killed writers of shared files left in a folder, once in a process.

    Only names that :func:`writing` gives, and only what nobody has written to for a day.

    Args:
        folder: looked at without its sub-folders.
    """
    before = time.time() - KILLED_AFTER
    with os.scandir(folder) as entries:
        drafts = [each for each in entries if SHARED_DRAFT.fullmatch(each.name)]
    for draft in drafts:
        with suppress(OSError):  # gone meanwhile, or another user's
            if draft.stat(follow_symlinks=False).st_mtime < before:
                os.unlink(draft)


def drop_unfinished_line(path: str | Path) -> None:
    """Cut a file behind its last line break, before more lines are appended to it.

    Who was killed, or found the disk full, may have left a part of a line there.

    Args:
        path: a text file, or none.

    Raises:
        OSError: it cannot be changed.
    """
    path = Path(path)
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def kept_arrays(stored: Any, names: Iterable[str]) -> dict[str, Any]:
    """Arrays of an open ``.npz`` file by their names.

    Raises:
        ValueError: one is not an array, for which numpy gives its bytes.
    """
    found = {name: stored[name] for name in names}
    if any(isinstance(each, bytes) for each in found.values()):
        raise ValueError("holds what is not an array")
    return found


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
    """Bring a file, or the names in a folder, to the disk: a power cut leaves no empty file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
