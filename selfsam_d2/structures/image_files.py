"""Plumbing shared by the readers of images and of label maps: which files, and how decoders fail."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from selfsam_d2.errors import InputError

__all__ = ["DECODE_ERRORS", "files_by_stem", "quiet_decoders", "require_file"]

# What Pillow, tifffile and numpy raise on a truncated or damaged file, depending on the broken byte.
DECODE_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keep warnings of Pillow and log lines of tifffile off stderr while a file is opened.

    What they warn of either does not matter here or ends in an error that names the file.
    """
    tifffile_logger = logging.getLogger("tifffile")
    was_disabled = tifffile_logger.disabled
    tifffile_logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        tifffile_logger.disabled = was_disabled


def require_file(path: Path) -> None:
    """Check that ``path`` is a file.

    Raises:
        InputError: there is nothing at ``path``, or a folder.
    """
    if path.is_dir():
        raise InputError(path, "is a folder, a file is needed")
    if not path.is_file():
        raise InputError(path, "no such file; check the path")


def files_by_stem(folder: str | Path, suffixes: Collection[str], what: str) -> dict[str, Path]:
    """The files of a folder whose name ends in one of ``suffixes``, by stem, sorted by stem.

    Args:
        folder: looked at without its sub-folders; names that start with a dot are left out.
        suffixes: in lower case with the dot, e.g. ``{".png"}``; letter case in names is ignored.
        what: what the files hold, for the messages, e.g. ``"label map"``.

    Returns:
        Stem -> path, not empty.

    Raises:
        InputError: no such folder, none of these files in it, or two files with one stem.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, f"no such folder; give the folder that holds the {what}s")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in suffixes or path.is_dir():
            continue
        if path.stem in found:
            other = found[path.stem].name
            raise InputError(path, f"same name as {other} in this folder; keep one {what} of them")
        found[path.stem] = path
    if not found:
        raise InputError(folder, f"no {what} in this folder ({', '.join(sorted(suffixes))})")
    return dict(sorted(found.items()))
