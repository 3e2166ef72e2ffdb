"""A folder is trained in by one training at a time."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from selfsam_d2.errors import InputError

__all__ = ["GIVEN", "held_for_training", "locked"]

LOCK = "lock"
GIVEN = "SELFSAM_LOCK"  # in the environment: descriptor of the lock that a process was given

_held: set[int] = set()


@contextmanager
def locked(folder: Path) -> Iterator[IO[str]]:
    """Hold a folder for one training.

    Args:
        folder: that is there.

    Yields:
        the lock, a text file. It is the file that is locked, not the process: a process that is
        given its descriptor holds the folder too, until its own end, however this one ends. What
        is written to it stands in the error: the process to end.

    Raises:
        InputError: a training holds it, or it cannot be written.
    """
    try:
        file = _open(folder)
    except OSError as error:
        raise InputError(folder, f"cannot be written ({error.strerror})") from error
    with file:
        try:
            _take(file, folder)
        except OSError as error:
            raise InputError(folder, f"cannot be locked ({error.strerror})") from error
        yield file


@contextmanager
def held_for_training(folder: Path) -> Iterator[str | None]:
    """Hold OUTPUT_DIR for the training of this process, but not for its data workers.

    Whoever started this process may hold it already and have given it the lock: its descriptor is
    then in the environment as :data:`GIVEN`.

    Args:
        folder: OUTPUT_DIR; made if need be.

    Yields:
        why it is not locked, on a file system that has no locks; otherwise None.

    Raises:
        InputError: another training holds it, or it cannot be written.
    """
    given = _given_lock(folder)
    if given is not None:
        with _kept_from_workers(given):
            yield None
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _open(folder)
    except OSError as error:
        raise InputError(
            folder, f"cannot be written ({error.strerror}); choose another OUTPUT_DIR"
        ) from error
    with file, _kept_from_workers(file.fileno()):
        problem = None
        try:
            _take(file, folder)
        except OSError as error:
            problem = error.strerror or str(error)
        else:
            file.write(f"{os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        yield problem


def _open(folder: Path) -> IO[str]:
    return (folder / LOCK).open("a+", encoding="utf-8")


def _take(file: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        process = file.read().strip() or "of another start"
        raise InputError(
            folder,
            f"another training is going on in it (process {process}); wait for it or end it",
        ) from error
    file.truncate(0)


def _given_lock(folder: Path) -> int | None:
    try:
        number = int(os.environ.get(GIVEN, ""))
        # The number can be handed on to where it means another file, or none.
        same = os.path.samestat(os.fstat(number), os.stat(folder / LOCK))
    except (ValueError, OverflowError, OSError):
        return None
    return number if same else None


@contextmanager
def _kept_from_workers(descriptor: int) -> Iterator[None]:
    """Data workers notice only after seconds that their training was killed."""
    _held.add(descriptor)
    try:
        yield
    finally:
        _held.discard(descriptor)


def _let_go() -> None:
    while _held:
        nothing = os.open(os.devnull, os.O_RDONLY)
        # Closed, its number could be that of another file by the time its Python object ends.
        os.dup2(nothing, _held.pop(), inheritable=False)
        os.close(nothing)


os.register_at_fork(after_in_child=_let_go)
