"""Which outputs are still those of before an ``--overwrite`` that was stopped.

A note in the folder of the outputs holds the time and the size of each file that is to be written
over. A file that is as the note says is old; one that was written since is not. So nobody keeps the
note up to date while images are done, by however many processes on however many machines, and a
kill at any moment costs an image, but never keeps an old file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from selfsam_d2.prediction.notes import file_state, read_note, write_note

__all__ = ["NOTE", "note_old_outputs", "old_outputs"]

NOTE = ".overwrite.json"
REMEDY = "remove it, and give --overwrite if outputs are to be written again"


def old_outputs(folder: Path) -> set[str]:
    """Names of the files, relative to the folder, that were to be written over and are as before.

    Args:
        folder: of the outputs.

    Raises:
        InputError: the note is damaged or cannot be read.
    """
    noted = read_note(folder / NOTE, REMEDY)
    return {name for name, state in noted.items() if file_state(folder / name) == state}


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
    states = {name: file_state(folder / name) for name in sorted({*old_outputs(folder), *names})}
    write_note(folder / NOTE, {name: state for name, state in states.items() if state is not None})
