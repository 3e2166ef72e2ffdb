"""Which images a user means by files, folders and patterns, and how one is predicted whole."""

from __future__ import annotations

import glob
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from selfsam_d2.data.images import IMAGE_SUFFIXES, find_images, has_fourth_channel, read_image
from selfsam_d2.errors import InputError
from selfsam_d2.outputs.writers import write_output
from selfsam_d2.prediction.dicom_series import one_file_per_slide
from selfsam_d2.prediction.options import Outputs, Predict, SourceFile, say, warn
from selfsam_d2.prediction.slides import SlideFile
from selfsam_d2.slides.microns import tiff_microns_per_pixel
from selfsam_d2.slides.reader import SLIDE_SUFFIXES, is_slide

__all__ = ["ImageFile", "ImageSource", "find_sources"]


class ImageSource(Protocol):
    """Something whose nuclei can be found; whether it fits into memory is its own business.

    Attributes:
        path: where it is, for messages.
        stem: its outputs are named by it.
    """

    @property
    def path(self) -> Path: ...

    @property
    def stem(self) -> str: ...

    @property
    def shared(self) -> bool:
        """Whether all processes work on it together; else it is for one of them."""
        ...

    @property
    def microns_per_pixel(self) -> float | None: ...

    def parts(self, predictor: Predict, outputs: Outputs) -> int:
        """Steps of the bar that it takes."""
        ...

    def process(
        self, predictor: Predict, formats: Sequence[str], outputs: Outputs, bar: Any
    ) -> int:
        """Find its nuclei, write the files, say so on stdout.

        Args:
            predictor: as a ``NucleiPredictor``.
            formats: to write.
            outputs: where to.
            bar: moved on by :meth:`parts`.

        Returns:
            number of nuclei.

        Raises:
            InputError: it cannot be read, or a file not be written.
        """
        ...


@dataclass(frozen=True)
class ImageFile(SourceFile):
    """A PNG, JPEG or TIFF that is read as a whole."""

    @property
    def shared(self) -> bool:
        """It is for one process."""
        return False

    def parts(self, predictor: Predict, outputs: Outputs) -> int:
        """One, whatever its size."""
        del predictor, outputs
        return 1

    def process(
        self, predictor: Predict, formats: Sequence[str], outputs: Outputs, bar: Any
    ) -> int:
        """Read the file, find its nuclei, write them.

        Raises:
            InputError: as :func:`selfsam_d2.data.images.read_image` and
                :func:`selfsam_d2.outputs.writers.write_output`; or memory runs out.
        """
        started = time.monotonic()
        bar.update()
        image = read_image(self.path)
        if has_fourth_channel(self.path):
            warn(self.path, "4 channels; the fourth (alpha) is left out")
        try:
            nuclei = predictor(image, name=self.path.name, microns_per_pixel=self.microns_per_pixel)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise InputError(self.path, "not enough memory; cut it into tiles") from error
        for name in formats:
            write_output(name, nuclei, outputs.folder, self.stem, outputs.class_name)
        seconds = time.monotonic() - started
        say(f"{self.path}: {len(nuclei)} nuclei, {seconds:.1f} s", sys.stdout)
        return len(nuclei)


def find_sources(
    inputs: Sequence[str], microns_per_pixel: float | None = None
) -> list[ImageSource]:
    """The images and slides that files, folders and patterns name, each once.

    Images above 16 million px are slides, and the files of a DICOM slide are one.

    Args:
        inputs: a file; a folder, whose images count without those of its sub-folders; or a pattern
            with ``*``, ``?``, ``[...]`` or ``**`` (any number of folders).
        microns_per_pixel: of all of them; None: as each file says.

    Returns:
        in the order of ``inputs``, within a folder or pattern sorted.

    Raises:
        InputError: an input names no image, or two images have one stem.
    """
    by_stem: dict[str, Path] = {}
    for path in one_file_per_slide(_paths(inputs)):
        other = by_stem.setdefault(path.stem, path)
        if other.resolve() != path.resolve():
            raise InputError(
                path,
                f"its outputs would have the names of those of {other}; rename one, or predict "
                "them into two folders",
            )
    return [_source(path, microns_per_pixel) for path in by_stem.values()]


def _source(path: Path, microns_per_pixel: float | None) -> ImageSource:
    if is_slide(path):
        return SlideFile(path, microns_per_pixel)
    return ImageFile(path, microns_per_pixel or tiff_microns_per_pixel(path))


def _paths(inputs: Sequence[str]) -> Iterator[Path]:
    for given in inputs:
        path = Path(given).expanduser()
        if path.is_dir():
            slides = [each for each in sorted(path.iterdir()) if _may_be_image(each, slide=True)]
            yield from slides
            # A folder of slides need not hold an image.
            if not slides or any(map(_may_be_image, path.iterdir())):
                yield from find_images(path).values()
        elif path.is_file():
            yield path
        elif glob.has_magic(given):
            yield from _matches(str(path))
        else:
            raise InputError(
                given,
                "no such file or folder; check the path (a path with blanks goes into quotes, KEY "
                "VALUE pairs behind --output)",
            )


def _matches(pattern: str) -> list[Path]:
    found = [Path(each) for each in sorted(glob.glob(pattern, recursive=True))]
    images = [each for each in found if _may_be_image(each) or _may_be_image(each, slide=True)]
    if not images:
        raise InputError(
            pattern,
            f"no image matches this pattern ({', '.join(sorted(IMAGE_SUFFIXES | SLIDE_SUFFIXES))})",
        )
    return images


def _may_be_image(path: Path, *, slide: bool = False) -> bool:
    suffixes = SLIDE_SUFFIXES if slide else IMAGE_SUFFIXES
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and not path.is_dir()
