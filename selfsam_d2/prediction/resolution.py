"""A model sees tissue in the resolution it was trained on, whatever that of the image.

Legend:
    H, W: height and width of the image, px
    s: scale, px of the image per px of the model
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsam_d2.outputs.prediction import NucleiPrediction
from selfsam_d2.structures.resolution import is_same_resolution

__all__ = ["predict_at_scale", "scale_between", "unknown_resolution"]


def scale_between(model: float | None, image: float | None) -> float:
    """Px of the image per px of the model: s.

    Args:
        model: µm/px of what the model was trained on; None: unknown.
        image: µm/px of the image; None: unknown.

    Returns:
        above 1 for an image that is finer; 1 where one of them is unknown or they differ by less
        than 10%.
    """
    if model is None or image is None or is_same_resolution(model, image):
        return 1.0
    return model / image


def unknown_resolution(model: float | None, image: float | None) -> str | None:
    """What to say where a resolution is unknown, else None.

    Args:
        model: as for :func:`scale_between`.
        image: the same.
    """
    key = "INPUT.NUCLEI.MICRONS_PER_PIXEL"
    if image is not None and model is not None:
        return None
    if model is not None:
        return (
            "µm/px not known, so nothing is resized; right if scanned like the training images, "
            "else give --microns-per-pixel, e.g. 0.25"
        )
    if image is not None:
        return (
            "µm/px of the training images not known, so nothing is resized; right if scanned like "
            f"them, else give theirs behind --output, e.g. {key} 0.25"
        )
    return (
        "µm/px unknown, theirs and those of the training images, so nothing is resized; right if "
        "all were scanned alike, else give both, e.g. --microns-per-pixel 0.25, and behind "
        f"--output {key} 0.25"
    )


def predict_at_scale(
    predict: Callable[[NDArray[np.uint8]], NucleiPrediction],
    image: NDArray[np.uint8],
    scale: float,
) -> NucleiPrediction:
    """Predict an image that is resized for the model, and bring the nuclei back.

    Made smaller, a pixel is the mean over an area; made larger, it is interpolated linearly. A
    nucleus of the model's px that falls between those of the image is lost.

    Args:
        predict: (h, w, 3) uint8 RGB -> its nuclei.
        image: (H, W, 3) uint8 RGB.
        scale: s, px of the image per px of the model.

    Returns:
        the nuclei in px of the image, numbered without gaps.
    """
    if scale == 1:
        return predict(image)
    height, width = image.shape[:2]
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    found = predict(np.asarray(cv2.resize(image, size, interpolation=method)))
    resized = _nearest(found.instance_map, height, width)
    kept = np.bincount(resized.ravel(), minlength=len(found) + 1)[1:] > 0
    number = np.zeros(len(found) + 1, dtype=np.int32)
    number[1:][kept] = np.arange(1, kept.sum() + 1)
    return replace(
        found,
        image=image,
        instance_map=number[resized],
        scores=found.scores[kept],
        foreground=np.asarray(
            cv2.resize(found.foreground, (width, height), interpolation=cv2.INTER_LINEAR)
        ),
    )


def _nearest(values: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """The value of the pixel in which the middle of each new pixel lies."""
    rows, columns = (
        (np.arange(new) * 2 + 1) * old // (2 * new)
        for new, old in ((height, values.shape[0]), (width, values.shape[1]))
    )
    return values[rows[:, None], columns]
