"""What the user asks of a prediction, and how sources speak to them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TextIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from selfsam_d2.errors import InputError
from selfsam_d2.outputs.geojson import CLASS_NAME
from selfsam_d2.outputs.prediction import NucleiPrediction

__all__ = ["Outputs", "Predict", "SourceFile", "Tiling", "say", "warn"]

SMALLEST_TILE = 64
SLACK_SHARE = 4  # of the margin: how far from the core the centroid of a nucleus may lie


class Predict(Protocol):
    """What finds the nuclei of an image, as a ``NucleiPredictor`` does."""

    @property
    def microns_per_pixel(self) -> float | None: ...

    @property
    def fingerprint(self) -> str: ...

    def __call__(
        self, image: NDArray[np.uint8], *, name: str, microns_per_pixel: float | None
    ) -> NucleiPrediction: ...


@dataclass(frozen=True)
class SourceFile:
    """What images and slides have in common.

    Attributes:
        path: of the file.
        microns_per_pixel: of the image; None: unknown, or as the file says.
    """

    path: Path
    microns_per_pixel: float | None = None

    @property
    def stem(self) -> str:
        """Name of the file without its last suffix."""
        return self.path.stem


@dataclass(frozen=True)
class Tiling:
    """How slides are cut.

    Attributes:
        side: of the core of a tile, px.
        margin: that is predicted around it, px; a nucleus larger than this may be cut.
        tissue_only: leave out tiles without tissue.

    Raises:
        InputError: a size is out of its range.
    """

    side: int = 2048
    margin: int = 128
    tissue_only: bool = True

    def __post_init__(self) -> None:
        if self.side < SMALLEST_TILE:
            raise InputError(f"--tile {self.side}", f"expected at least {SMALLEST_TILE} px")
        if not SLACK_SHARE <= self.margin <= self.side:
            raise InputError(
                f"--tile-margin {self.margin}",
                f"expected {SLACK_SHARE} to {self.side} px, at most --tile",
            )

    def at(self, scale: float) -> tuple[int, int, int]:
        """Side, margin and slack in px of a slide.

        The side is that of the finer one of slide and model, so that neither is larger than
        asked for; the margin that of the coarser one, so that both see enough around a core.

        Args:
            scale: px of the slide per px of the model.
        """
        side = max(1, round(self.side * min(1.0, scale)))
        margin = round(self.margin * max(1.0, scale))
        return side, margin, margin // SLACK_SHARE


@dataclass(frozen=True)
class Outputs:
    """Where the nuclei of images go, and in which forms.

    Attributes:
        folder: made if it is not there.
        formats: keys of :data:`selfsam_d2.outputs.writers.FORMATS`.
        class_name: class of the nuclei in GeoJSON.
        overwrite: write again what is there.
        tiling: of slides.
    """

    folder: Path
    formats: tuple[str, ...]
    class_name: str = CLASS_NAME
    overwrite: bool = False
    tiling: Tiling = field(default_factory=Tiling)


def say(line: str, stream: TextIO) -> None:
    """One line, above the bar if there is one, at once."""
    tqdm.write(line, file=stream)
    stream.flush()


def warn(path: Path, problem: str) -> None:
    """One line on stderr that names an image."""
    say(f"{path}: {problem}", sys.stderr)
