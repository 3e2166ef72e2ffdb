"""Files in the cache folder: each has a record beside it, by which damage is noticed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from selfsam_d2.errors import InputError
from selfsam_d2.files import parse_json

__all__ = ["file_sha256", "is_intact", "locked", "store", "write_record"]

BLOCK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def write_record(path: Path, sha256: str, source: str) -> None:
    """Note the state of a complete file beside it.

    Args:
        path: the file.
        sha256: its SHA-256.
        source: where it came from, for the reader of the record.
    """
    status = path.stat()
    record = {
        "sha256": sha256,
        "size": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "source": source,
    }
    draft = path.with_name(f"{path.name}.json.{os.getpid()}")
    draft.write_text(json.dumps(record, indent=1), encoding="utf-8")
    draft.replace(_record_path(path))


def _read_record(path: Path) -> dict[str, object]:
    try:
        record = parse_json(_record_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def is_intact(path: Path, sha256: str | None = None) -> bool:
    """Whether a cached file is still what was stored.

    A file whose length and time of change are those of its record is taken as unchanged, so that
    gigabytes are not hashed at each start; otherwise it is hashed.

    Args:
        path: the cached file; it may be missing.
        sha256: the published SHA-256. Without it, the recorded one must hold.
    """
    if not path.is_file():
        return False
    record = _read_record(path)
    expected = sha256 or record.get("sha256")
    if expected is None:
        return False
    status = path.stat()
    seen = (record.get("sha256"), record.get("size"), record.get("modified_ns"))
    if seen == (expected, status.st_size, status.st_mtime_ns):
        return True
    if file_sha256(path) != expected:
        return False
    write_record(path, str(expected), str(record.get("source", "found in the cache")))
    return True


def store(path: Path, source: str, write: Callable[[Path], object]) -> Path:
    """Write a file of the cache at one stroke: readers see the whole file or none.

    Args:
        path: the file to make.
        source: where its content comes from, for the record.
        write: writes the content to the path that it is given.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        write(draft)
        sha256 = file_sha256(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    write_record(path, sha256, source)
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from fetching the same file meanwhile, and make its folder.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            path.parent, f"the weights cannot be kept here ({reason}); set SELFSAM_CACHE"
        ) from error
