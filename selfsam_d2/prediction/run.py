"""Predict many images: what is there is skipped, what is broken is named, the rest goes on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from detectron2.utils import comm
from tqdm import tqdm

from selfsam_d2.engine.stop_hook import PASSED_ON, STOPPED
from selfsam_d2.errors import InputError, OutputError
from selfsam_d2.outputs.writers import FORMATS, existing_output, output_names, require_packages
from selfsam_d2.prediction.old_outputs import note_old_outputs, old_outputs
from selfsam_d2.prediction.options import Outputs, Predict, say
from selfsam_d2.prediction.output_models import note_model, require_same_model
from selfsam_d2.prediction.resolution import unknown_resolution
from selfsam_d2.prediction.sources import ImageSource
from selfsam_d2.prediction.together import gather, together
from selfsam_d2.slides.store import SETTINGS, remove_tiles, store_folder

__all__ = [
    "Outputs",
    "Report",
    "Task",
    "begin",
    "finish",
    "plan",
    "predict_images",
    "process",
    "started_again",
    "warn_of_unknown_resolution",
]


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


@dataclass(frozen=True)
class Report:
    """What became of images.

    Attributes:
        done: number of images that were begun and are not any more.
        nuclei: in all of them.
        failed: those among them that could not be predicted.
    """

    done: int = 0
    nuclei: int = 0
    failed: tuple[str, ...] = ()

    def __add__(self, other: Report) -> Report:
        return Report(
            self.done + other.done, self.nuclei + other.nuclei, self.failed + other.failed
        )


def plan(sources: Sequence[ImageSource], outputs: Outputs) -> list[Task]:
    """What is to be done for each image; makes the folder of the outputs.

    Raises:
        InputError: a format is not known or needs a package that is not installed, the folder
            cannot be made, pictures would lie among the images, or the note of an earlier run
            that was to overwrite is damaged.
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
    old = old_outputs(outputs.folder)
    return [_task(source, outputs, old) for source in sources]


def _task(source: ImageSource, outputs: Outputs, old: set[str]) -> Task:
    kept = {} if outputs.overwrite else _present(source, outputs, old)
    missing = (name for name in outputs.formats if name not in kept)
    return Task(source, tuple(dict.fromkeys(missing)), tuple(kept.values()))


def _present(source: ImageSource, outputs: Outputs, old: set[str]) -> dict[str, Path]:
    """The file of each format that is there and was not to be overwritten."""
    found = (
        (name, existing_output(name, outputs.folder, source.stem))
        for name in outputs.formats
        if old.isdisjoint(output_names(name, source.stem))
    )
    return {name: path for name, path in found if path is not None}


def begin(tasks: Sequence[Task], outputs: Outputs, model: str) -> None:
    """Before the first image: note what is to be overwritten, so that a stop does not keep it.

    Without ``--overwrite`` tiles that an earlier run was to overwrite are removed.

    Args:
        tasks: from :func:`plan`.
        outputs: the same as there.
        model: fingerprint of the predictor.

    Raises:
        InputError: what would be kept is of another model, or the note of an earlier run is
            damaged.
        OutputError: a note cannot be written, or tiles not be removed.
    """
    require_same_model(outputs.folder, model, [kept.name for task in tasks for kept in task.kept])
    waiting = [task for task in tasks if task.formats]
    if waiting:
        note_model(outputs.folder, model)
    folders = [store_folder(outputs.folder, task.source.stem) for task in waiting]
    if outputs.overwrite:
        tiles = [f"{folder.name}/{SETTINGS}" for folder in folders]
        names = [
            name
            for task in waiting
            for form in task.formats
            for name in output_names(form, task.source.stem)
        ]
        note_old_outputs(outputs.folder, [*names, *tiles])
        return
    old = old_outputs(outputs.folder)
    for folder in folders:
        if f"{folder.name}/{SETTINGS}" in old:
            remove_tiles(folder)


def predict_images(predictor: Predict, tasks: Sequence[Task], outputs: Outputs) -> None:
    """Predict and write, image after image; a line for each on stdout, a bar on a terminal.

    An image that cannot be read is a line on stderr, and the next one follows. SIGTERM and Ctrl+C
    leave the files that are finished, each of them whole, and the finished tiles of a slide.

    Where Detectron2's ``launch`` started several processes, each calls this: images are shared out
    among them, and so are the tiles of each slide.

    Args:
        predictor: called with an image, as a ``NucleiPredictor`` is.
        tasks: from :func:`plan`.
        outputs: the same as there.

    Raises:
        InputError: images could not be read or written, after all others are done; in the first
            process only. Or as :func:`begin`, before the first image.
        SystemExit: after SIGTERM.
    """
    waiting = [task for task in tasks if task.formats]
    own = [
        task
        for number, task in enumerate(waiting)
        if task.source.shared or number % comm.get_world_size() == comm.get_rank()
    ]
    # No process writes before the note is there.
    together(
        outputs.folder,
        lambda: begin(tasks, outputs, predictor.fingerprint) if comm.is_main_process() else None,
    )
    if comm.is_main_process():
        warn_of_unknown_resolution(predictor, waiting)
    report = Report()
    with _sigterm_exits():
        try:
            total = sum(task.source.parts(predictor, outputs) for task in own)
            hidden = None if comm.is_main_process() else True
            with tqdm(total=total, unit="part", disable=hidden) as bar:
                for task in own:
                    report += process(predictor, task, outputs, bar)
        except (KeyboardInterrupt, SystemExit):
            if comm.is_main_process():
                done = f"stopped after {report.done} of {len(waiting)} images"
                say(f"{done}; {started_again(outputs)}", sys.stderr)
            raise
    reports = gather(report)
    if comm.is_main_process():
        finish(sum(reports, Report()), tasks, outputs)


def warn_of_unknown_resolution(predictor: Predict, waiting: Sequence[Task]) -> None:
    """Say it once for all images; a slide speaks for itself, its file may tell.

    Args:
        predictor: as for :func:`predict_images`.
        waiting: tasks with something to do.
    """
    images = [task.source for task in waiting if not task.source.shared]
    lines = [
        unknown_resolution(predictor.microns_per_pixel, image.microns_per_pixel) for image in images
    ]
    # All of one resolution, or some whose file states it.
    for line in dict.fromkeys(line for line in lines if line is not None):
        count = lines.count(line)
        some = "" if count == len(lines) else f"{count} of {len(lines)} "
        say(f"{some}images: {line}", sys.stderr)


def process(predictor: Predict, task: Task, outputs: Outputs, bar: Any) -> Report:
    """Predict one image; what is wrong with it is said on stderr.

    Args:
        predictor: as for :func:`predict_images`.
        task: with something to do.
        outputs: as for :func:`predict_images`.
        bar: a ``tqdm``, moved on.
    """
    source = task.source
    speaks = comm.is_main_process() or not source.shared
    if task.kept and speaks:
        kept = ", ".join(each.name for each in task.kept)
        say(f"{source.path}: kept: {kept}", sys.stdout)
    try:
        nuclei = source.process(predictor, task.formats, outputs, bar)
    except OutputError:
        raise  # the next image would fare no better
    except InputError as error:
        if not speaks:
            return Report()
        say(" ".join(str(error).split()), sys.stderr)
        return Report(1, 0, (str(source.path),))
    return Report(1, nuclei) if speaks else Report()


def finish(report: Report, tasks: Sequence[Task], outputs: Outputs) -> None:
    """Say what was done on stdout; what was overwritten is forgotten, what failed is not.

    Raises:
        InputError: images failed.
        OutputError: the note of what was to be overwritten cannot be written.
    """
    note_old_outputs(outputs.folder)
    skipped = sum(not task.formats for task in tasks)
    predicted = report.done - len(report.failed)
    say(
        f"{_images(predicted)} predicted, {report.nuclei} nuclei in {outputs.folder}"
        + (f"; {_images(skipped)} skipped, all files are there (--overwrite)" if skipped else ""),
        sys.stdout,
    )
    if report.failed:
        failed = ", ".join(report.failed)
        raise InputError(f"{len(report.failed)} of {len(tasks)} images failed: {failed}")


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"


def started_again(outputs: Outputs) -> str:
    """How a run that ended early goes on, for a message."""
    how = " without --overwrite" if outputs.overwrite else ""
    return f"started again{how} it goes on from there"


@contextmanager
def _sigterm_exits() -> Iterator[None]:
    """SIGTERM, passed on or not, unwinds the stack once, so that unfinished files are removed."""
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        nonlocal asked
        if not asked:  # it comes again where one of several processes was the first to end
            asked = True
            raise SystemExit(STOPPED)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, PASSED_ON)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
