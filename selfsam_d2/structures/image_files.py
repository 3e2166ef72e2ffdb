"""What the readers of images and of label maps share: which files, and how decoders fail."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import tifffile
from PIL import Image

from selfsam_d2.errors import InputError
from selfsam_d2.files import ARRAY_ERRORS
from selfsam_d2.structures.muted_stderr import Shared, muted_stderr

__all__ = [
    "DECODE_ERRORS",
    "MAX_PIXELS",
    "MAX_TEXT",
    "MEBIBYTE",
    "TOO_MANY_PIXELS",
    "decode_problem",
    "files_by_stem",
    "opened_tiff",
    "quiet_decoders",
    "require_file",
    "require_pixels",
]

# What Pillow, tifffile and numpy raise on a damaged file, depending on the broken byte.
DECODE_ERRORS: tuple[type[Exception], ...] = (
    *ARRAY_ERRORS,  # a MemoryError among them; see decode_problem
    AssertionError,
    Image.DecompressionBombError,
)
MEBIBYTE = 1 << 20
# Parsed, a text takes about ten times its size of memory. Outlines of a slide have some 1 kB for
# each nucleus, so that half a million of them fit.
MAX_TEXT = 512 * MEBIBYTE
MAX_PIXELS = 178_956_970  # what Pillow sets; every reader has it, before it takes memory
TOO_MANY_PIXELS = "more than 178 million pixels; cut it into tiles"


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("tifffile", "PIL.TiffImagePlugin")]
    were_disabled = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        with warnings.catch_warnings(), muted_stderr():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, was_disabled in zip(loggers, were_disabled, strict=True):
            logger.disabled = was_disabled


_quietness = Shared(_quiet)


def quiet_decoders() -> AbstractContextManager[None]:
    """Keep what decoders say about a file off stderr while it is opened and decoded.

    Pillow warns and logs, tifffile logs, and libtiff writes to file descriptor 2 by itself. What
    they say either does not matter here or ends in an error that names the file. Threads may
    overlap: it is quiet as long as one of them decodes.
    """
    return _quietness()


def decode_problem(error: Exception, problem: str) -> str:
    """What is wrong with a file, and the remedy, where a decoder failed.

    Args:
        error: one of :data:`DECODE_ERRORS`.
        problem: what is said unless memory ran out, which the file need not be to blame for.
    """
    if not isinstance(error, MemoryError):
        return problem
    return (
        "needs more memory than there is, or its header is damaged; free memory, or copy or export "
        "it again"
    )


def require_file(path: Path, most: int | None = None, remedy: str = "split it by image") -> None:
    """Check that ``path`` is a file.

    Args:
        path: looked at, not opened.
        most: bytes that it may have, for what is read into memory as a whole.
        remedy: of a larger one, for the message.

    Raises:
        InputError: there is nothing at ``path``, or a folder, or the file is larger.
    """
    # Unlike those of pathlib, they answer for a name that is too long as well.
    if os.path.isdir(path):
        raise InputError(path, "is a folder, a file is needed")
    if not os.path.isfile(path):
        raise InputError(path, "no such file; check the path")
    if most is not None and path.stat().st_size > most:
        raise InputError(path, f"is larger than {most / MEBIBYTE:.0f} MiB; {remedy}")


def require_pixels(path: Path, shape: Sequence[int]) -> None:
    """Check that an array of a file is not too large to be read.

    Args:
        path: named in the message.
        shape: as the header says it.

    Raises:
        InputError: it has more than :data:`MAX_PIXELS` values.
    """
    if math.prod(shape) > MAX_PIXELS:
        raise InputError(path, TOO_MANY_PIXELS)


def opened_tiff(path: Path) -> tifffile.TiffFile:
    """A TIFF whose pages can be read in turn; to be used in a ``with`` statement.

    A page of a damaged file may be its own next one. Counting the pages finds that and ends there;
    iterating over pages that were not counted goes on for ever.
    """
    tiff = tifffile.TiffFile(path)
    len(tiff.pages)
    return tiff


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
