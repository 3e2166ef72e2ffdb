"""A whole slide from file to files, with a model or with a threshold in its place."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.scenes import SCENE, make_image
from selfsam_d2.outputs.prediction import NucleiPrediction
from selfsam_d2.prediction.options import Outputs
from selfsam_d2.prediction.predictor import NucleiPredictor
from selfsam_d2.prediction.run import plan, predict_images
from selfsam_d2.prediction.sources import find_sources

__all__ = ["prepare_slide"]

TILE = 256  # px, of the file
DARK = 140  # of red, in a nucleus
FORMATS = ("geojson", "labels", "overlay", "csv", "coco")


class Threshold:
    """What is dark and connected is a nucleus."""

    microns_per_pixel = 0.25
    fingerprint = "threshold"

    def __call__(
        self, image: NDArray[np.uint8], *, name: str, microns_per_pixel: float | None
    ) -> NucleiPrediction:
        labels, count = ndimage.label(image[..., 0] < DARK, output=np.int32)
        return NucleiPrediction(
            image=image,
            instance_map=labels,
            scores=np.ones(count, dtype=np.float32),
            foreground=(labels > 0).astype(np.float32),
            name=name,
            microns_per_pixel=microns_per_pixel,
        )


def prepare_slide(
    side: int, nuclei: int, weights: str = "", tissue: float = 1.0
) -> Callable[[], dict[str, Any]]:
    """A slide of one level, side x side px, ready to be predicted.

    Args:
        side: px.
        nuclei: in each part of 1000 x 1000 px of the tissue; all parts are the same.
        weights: of the model; empty: a threshold.
        tissue: share of the height that holds tissue; the rest is white.

    Returns:
        gives the number of nuclei and the bytes of each file.
    """
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "slide.svs"
    scene = make_image(SCENE, nuclei)[0].permute(1, 2, 0).numpy()
    tifffile.imwrite(
        path,
        _tiles(scene, side, round(side * tissue)),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric="rgb",
        description=f"Aperio Image Library v12\r\n{side}x{side}|MPP = 0.25",
        metadata=None,
    )

    def run() -> dict[str, Any]:
        predictor = NucleiPredictor(weights) if weights else Threshold()
        with folder:
            outputs = Outputs(Path(folder.name) / "out", FORMATS)
            predict_images(predictor, plan(find_sources([str(path)]), outputs), outputs)
            files = {each.name: each.stat().st_size for each in outputs.folder.iterdir()}
            lines = (outputs.folder / "slide.csv").read_text().count("\n")
        return {"nuclei": lines - 1, "bytes": files}

    return run


def _tiles(scene: NDArray[np.uint8], side: int, tissue: int) -> Iterator[NDArray[np.uint8]]:
    """The tiles of the file, row by row, of a scene that goes on and on for some rows."""
    blank = scene[:TILE, :TILE]
    for top in range(0, side, TILE):
        for left in range(0, side, TILE):
            rows = np.arange(top, top + TILE) % SCENE
            columns = np.arange(left, left + TILE) % SCENE
            yield scene[rows[:, None], columns] if top < tissue else np.full_like(blank, 255)
