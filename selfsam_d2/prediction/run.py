"""Predict many images: what is there is skipped, what is broken is named, the rest goes on."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TextIO

import torch
from tqdm import tqdm

from selfsam_d2.errors import InputError
from selfsam_d2.outputs.geojson import CLASS_NAME
from selfsam_d2.outputs.writers import FORMATS, existing_output, require_packages, write_output
from selfsam_d2.prediction.sources import ImageSource, Predict

__all__ = ["Outputs", "Task", "plan", "predict_images"]

STOPPED = 128  # a shell's status of a process that a signal ended, plus the signal


@dataclass(frozen=True)
class Outputs:
    """Where the nuclei of images go, and in which forms.

    Attributes:
        folder: made if it is not there.
        formats: keys of :data:`selfsam_d2.outputs.writers.FORMATS`.
        class_name: class of the nuclei in GeoJSON.
        overwrite: write again what is there.
    """

    folder: Path
    formats: tuple[str, ...]
    class_name: str = CLASS_NAME
    overwrite: bool = False


@dataclass(frozen=True)
class Task:
    """An image and the files that are made of it.

    Attributes:
        source: the image.
        formats: that are to be written; none where all are there.
        kept: files that are there already and stay as they are.
    """

    source: ImageSource
    formats: tuple[str, ...]
    kept: tuple[Path, ...]


def plan(sources: Sequence[ImageSource], outputs: Outputs) -> list[Task]:
    """What is to be done for each image; makes the folder of the outputs.

    Raises:
        InputError: a format is not known or needs a package that is not installed, the folder
            cannot be made, or pictures would lie among the images.
    """
    for name in outputs.formats:
        if name not in FORMATS:
            raise InputError(f"--formats {name}", f"is none of {', '.join(FORMATS)}")
    require_packages(outputs.formats)
    pictures = any(FORMATS[name].picture for name in outputs.formats)
    folders = {source.path.resolve().parent for source in sources}
    if pictures and outputs.folder.resolve() in folders:
        raise InputError(
            outputs.folder,
            "holds the images, and pictures beside them would be taken for images next time; give "
            "another --output",
        )
    try:
        outputs.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(outputs.folder, f"cannot be written ({error.strerror})") from error
    return [_task(source, outputs) for source in sources]


def _task(source: ImageSource, outputs: Outputs) -> Task:
    kept = {} if outputs.overwrite else _present(source, outputs)
    missing = (name for name in outputs.formats if name not in kept)
    return Task(source, tuple(dict.fromkeys(missing)), tuple(kept.values()))


def _present(source: ImageSource, outputs: Outputs) -> dict[str, Path]:
    found = ((name, existing_output(name, outputs.folder, source.stem)) for name in outputs.formats)
    return {name: path for name, path in found if path is not None}


def predict_images(predictor: Predict, tasks: Sequence[Task], outputs: Outputs) -> None:
    """Predict and write, image after image; a line for each on stdout, a bar on a terminal.

    An image that cannot be read is a line on stderr, and the next one follows. SIGTERM and Ctrl-C
    leave the files that are finished, each of them whole.

    Args:
        predictor: called with an image, as a ``NucleiPredictor`` is.
        tasks: from :func:`plan`.
        outputs: the same as there.

    Raises:
        InputError: images could not be read, after all others are done; a file cannot be written,
            at once.
        SystemExit: after SIGTERM.
    """
    waiting = [task for task in tasks if task.formats]
    failed: list[str] = []
    nuclei = 0
    done = 0
    try:
        with _sigterm_exits():
            for task in tqdm(waiting, unit="image", disable=None):
                count = _predict_one(predictor, task, outputs)
                done += 1
                if count is None:
                    failed.append(str(task.source.path))
                else:
                    nuclei += count
    except (KeyboardInterrupt, SystemExit):
        again = "started again" + (" without --overwrite" if outputs.overwrite else "")
        _say(
            f"stopped after {done} of {len(waiting)} images; {again} it goes on from there",
            sys.stderr,
        )
        raise
    skipped = len(tasks) - len(waiting)
    _say(
        f"{done - len(failed)} images predicted, {nuclei} nuclei in {outputs.folder}"
        + (f"; {skipped} images skipped, their files are there (--overwrite)" if skipped else ""),
        sys.stdout,
    )
    if failed:
        raise InputError(f"{len(failed)} of {len(tasks)} images failed: {', '.join(failed)}")


def _predict_one(predictor: Predict, task: Task, outputs: Outputs) -> int | None:
    """Number of nuclei, or None if the image cannot be predicted, which is said."""
    started = time.monotonic()
    path = task.source.path
    try:
        nuclei = task.source.predict(predictor)
    except InputError as error:
        _say(" ".join(str(error).split()), sys.stderr)
        return None
    except (MemoryError, torch.OutOfMemoryError):
        _say(f"{path}: not enough memory; cut it into tiles", sys.stderr)
        return None
    for name in task.formats:
        write_output(name, nuclei, outputs.folder, task.source.stem, outputs.class_name)
    kept = f" (kept: {', '.join(each.name for each in task.kept)})" if task.kept else ""
    seconds = time.monotonic() - started
    _say(f"{path}: {len(nuclei)} nuclei{kept}, {seconds:.1f} s", sys.stdout)
    return len(nuclei)


def _say(line: str, stream: TextIO) -> None:
    """One line, above the bar if there is one, at once."""
    tqdm.write(line, file=stream)
    stream.flush()


@contextmanager
def _sigterm_exits() -> Iterator[None]:
    """SIGTERM unwinds the stack, so that unfinished files are removed."""

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(STOPPED + number)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
