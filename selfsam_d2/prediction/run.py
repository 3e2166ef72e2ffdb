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
from selfsam_d2.outputs.writers import FORMATS, existing_output, require_packages
from selfsam_d2.prediction.options import Outputs, Predict, say
from selfsam_d2.prediction.resolution import unknown_resolution
from selfsam_d2.prediction.sources import ImageSource
from selfsam_d2.prediction.together import gather
from selfsam_d2.slides.store import overwrites

__all__ = [
    "Outputs",
    "Report",
    "Task",
    "finish",
    "plan",
    "predict_images",
    "process",
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
    if overwrites(outputs.folder, source.stem):
        return {}
    found = ((name, existing_output(name, outputs.folder, source.stem)) for name in outputs.formats)
    return {name: path for name, path in found if path is not None}


def predict_images(predictor: Predict, tasks: Sequence[Task], outputs: Outputs) -> None:
    """Predict and write, image after image; a line for each on stdout, a bar on a terminal.

    An image that cannot be read is a line on stderr, and the next one follows. SIGTERM and Ctrl-C
    leave the files that are finished, each of them whole, and the finished tiles of a slide.

    Where Detectron2's ``launch`` started several processes, each calls this: images are shared out
    among them, and so are the tiles of each slide.

    Args:
        predictor: called with an image, as a ``NucleiPredictor`` is.
        tasks: from :func:`plan`.
        outputs: the same as there.

    Raises:
        InputError: images could not be read or written, after all others are done; in the first
            process only.
        SystemExit: after SIGTERM.
    """
    waiting = [task for task in tasks if task.formats]
    own = [
        task
        for number, task in enumerate(waiting)
        if task.source.shared or number % comm.get_world_size() == comm.get_rank()
    ]
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
                say(_stopped(report.done, len(waiting), outputs), sys.stderr)
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
    if not images:
        return
    unknown = unknown_resolution(predictor.microns_per_pixel, images[0].microns_per_pixel)
    if unknown is not None:
        say(f"images: {unknown}", sys.stderr)


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
    """Say what was done on stdout.

    Raises:
        InputError: images failed.
    """
    skipped = sum(not task.formats for task in tasks)
    predicted = report.done - len(report.failed)
    say(
        f"{predicted} images predicted, {report.nuclei} nuclei in {outputs.folder}"
        + (f"; {skipped} images skipped, their files are there (--overwrite)" if skipped else ""),
        sys.stdout,
    )
    if report.failed:
        failed = ", ".join(report.failed)
        raise InputError(f"{len(report.failed)} of {len(tasks)} images failed: {failed}")


def _stopped(done: int, of: int, outputs: Outputs) -> str:
    again = "started again" + (" without --overwrite" if outputs.overwrite else "")
    return f"stopped after {done} of {of} images; {again} it goes on from there"


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
