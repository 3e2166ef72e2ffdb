"""Which images a user means by files, folders and patterns, and how each is predicted."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from selfsam_d2.data.images import IMAGE_SUFFIXES, find_images, read_image
from selfsam_d2.errors import InputError
from selfsam_d2.outputs.prediction import NucleiPrediction

__all__ = ["ImageFile", "ImageSource", "Predict", "find_sources"]

Predict = Callable[..., NucleiPrediction]  # as NucleiPredictor is called
# Formats of whole slides that are nothing else; a TIFF may be either.
SLIDE_SUFFIXES = frozenset(
    {".bif", ".czi", ".dcm", ".mrxs", ".ndpi", ".scn", ".svs", ".svslide", ".vms", ".vmu"}
)


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

    def predict(self, predictor: Predict) -> NucleiPrediction:
        """Read it and find its nuclei.

        Raises:
            InputError: it cannot be read.
        """
        ...


@dataclass(frozen=True)
class ImageFile:
    """A PNG, JPEG or TIFF that is read as a whole.

    Attributes:
        path: of the file.
        microns_per_pixel: of the image; None: unknown.
    """

    path: Path
    microns_per_pixel: float | None = None

    @property
    def stem(self) -> str:
        """Name of the file without its last suffix."""
        return self.path.stem

    def predict(self, predictor: Predict) -> NucleiPrediction:
        """Read the file and find its nuclei.

        Raises:
            InputError: as :func:`selfsam_d2.data.images.read_image`.
        """
        return predictor(
            read_image(self.path),
            name=self.path.name,
            microns_per_pixel=self.microns_per_pixel,
        )


def find_sources(
    inputs: Sequence[str], microns_per_pixel: float | None = None
) -> list[ImageSource]:
    """The images that files, folders and patterns name, each once.

    Args:
        inputs: a file; a folder, whose images count without those of its sub-folders; or a pattern
            with ``*``, ``?``, ``[...]`` or ``**`` (any number of folders).
        microns_per_pixel: of all of them; None: unknown.

    Returns:
        in the order of ``inputs``, within a folder or pattern sorted.

    Raises:
        InputError: an input names no image, or a whole slide, or two images have one stem.
    """
    by_stem: dict[str, Path] = {}
    for path in _paths(inputs):
        if path.suffix.lower() in SLIDE_SUFFIXES:
            raise InputError(
                path, "a whole slide; images are read from PNG, JPEG and TIFF, so export regions"
            )
        other = by_stem.setdefault(path.stem, path)
        if other.resolve() != path.resolve():
            raise InputError(
                path,
                f"its outputs would have the names of those of {other}; rename one, or predict "
                "them into two folders",
            )
    return [ImageFile(path, microns_per_pixel) for path in by_stem.values()]


def _paths(inputs: Sequence[str]) -> Iterator[Path]:
    for given in inputs:
        path = Path(given).expanduser()
        if path.is_dir():
            slides = (each for each in sorted(path.iterdir()) if _may_be_image(each, slide=True))
            yield from slides
            yield from find_images(path).values()
        elif path.is_file():
            yield path
        elif glob.has_magic(given):
            yield from _matches(str(path))
        else:
            raise InputError(given, "no such file or folder; check the path")


def _matches(pattern: str) -> list[Path]:
    found = [Path(each) for each in sorted(glob.glob(pattern, recursive=True))]
    images = [each for each in found if _may_be_image(each) or _may_be_image(each, slide=True)]
    if not images:
        raise InputError(
            pattern, f"no image matches this pattern ({', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    return images


def _may_be_image(path: Path, *, slide: bool = False) -> bool:
    suffixes = SLIDE_SUFFIXES if slide else IMAGE_SUFFIXES
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and not path.is_dir()
