"""Which model the outputs in a folder are of, so that those of two are not taken for one.

A note in the folder holds the fingerprint of the model that predicted last, and of each file that
was there before it the time, the size and the model that had written it. A file that is as the note
says is of that model; one that was written since, or is not in the note, is of the last model. So
the note is written once, before the first image, however many processes predict.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selfsam_d2.errors import InputError
from selfsam_d2.prediction.notes import file_state, read_note, write_note

__all__ = ["MODEL_NOTE", "note_model", "require_same_model"]

MODEL_NOTE = ".model.json"
LAST, EARLIER = "model", "earlier"
REMEDY = "remove it, and give --overwrite if the outputs may be of another model"


def require_same_model(folder: Path, model: str, kept: Iterable[str]) -> None:
    """Whether outputs that would be kept are those of a model.

    Args:
        folder: of the outputs.
        model: fingerprint of what is to predict now.
        kept: names of files in the folder. Those of before there was a note pass.

    Raises:
        InputError: some are of another model or of other settings, or the note is damaged.
    """
    noted = _read(folder)
    if not noted:
        return
    others = [name for name in kept if _model_of(folder, name, noted) != model]
    if others:
        raise InputError(
            folder,
            f"{len(others)} files there, such as {others[0]}, are of another model or of other "
            "settings of it; --overwrite replaces them, another --output keeps them",
        )


def note_model(folder: Path, model: str) -> None:
    """Note which model writes from now on, and of which the files are that are there.

    Args:
        folder: of the outputs.
        model: fingerprint.

    Raises:
        InputError: the earlier note is damaged.
        OutputError: the note cannot be written.
    """
    noted = _read(folder)
    if noted.get(LAST) == model:
        return
    earlier: dict[str, list[Any]] = {}
    if noted:
        for path in sorted(folder.iterdir()):
            state = file_state(path)
            if path.is_file() and not path.name.startswith(".") and state is not None:
                earlier[path.name] = [_model_of(folder, path.name, noted), *state]
    write_note(folder / MODEL_NOTE, {LAST: model, EARLIER: earlier})


def _read(folder: Path) -> dict[str, Any]:
    path = folder / MODEL_NOTE
    noted = read_note(path, REMEDY)
    earlier = noted.get(EARLIER)
    if noted and not (
        isinstance(noted.get(LAST), str)
        and isinstance(earlier, dict)
        and all(isinstance(each, list) and len(each) == 3 for each in earlier.values())
    ):
        raise InputError(path, f"damaged; {REMEDY}")
    return noted


def _model_of(folder: Path, name: str, noted: dict[str, Any]) -> Any:
    model, *state = noted[EARLIER].get(name, [noted[LAST]])
    return model if file_state(folder / name) == state else noted[LAST]
