"""The errors of a prediction, coloured by their kind, over the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsam_d2.evaluation.error_kinds import (
    FOUND,
    MERGED,
    MISSED,
    SPLIT,
    SPURIOUS,
    ErrorKinds,
)
from selfsam_d2.visualization.contour_layers import ContourLayer, draw_layers
from selfsam_d2.visualization.overlay import PREDICTED_COLOR, TRUE_COLOR

__all__ = ["ERROR_COLORS", "draw_errors"]

# Of different lightness, too, and none is that of a stain.
ERROR_COLORS = {
    FOUND: (255, 255, 255),
    MISSED: TRUE_COLOR,
    SPURIOUS: PREDICTED_COLOR,
    MERGED: (230, 50, 0),
    SPLIT: (0, 40, 230),
}
THIN, THICK = 1, 2  # px of the image


def draw_errors(
    image: NDArray[np.uint8],
    true: NDArray[np.integer[Any]],
    pred: NDArray[np.integer[Any]],
    kinds: ErrorKinds,
) -> NDArray[np.uint8]:
    """Draw the contours of predicted nuclei, and of true ones that are not found.

    Those that are found have thin lines, and so have true nuclei that are merged or split; missed
    ones and wrong predictions have thick lines. An image of less than 1000 px is enlarged by a
    whole factor s, see :func:`~selfsam_d2.visualization.contour_layers.drawing_factor`.

    Args:
        image: (H, W, 3) uint8 RGB.
        true: (H, W) true instance map.
        pred: (H, W) predicted instance map.
        kinds: of the nuclei of both.

    Returns:
        (sH, sW, 3) uint8 RGB.

    Raises:
        ValueError: a map is not of the size of the image.
    """
    kinds_of_layers = (
        (pred, kinds.pred, FOUND, THIN),
        *((true, kinds.true, kind, THIN) for kind in (MERGED, SPLIT)),
        *((pred, kinds.pred, kind, THICK) for kind in (MERGED, SPLIT, SPURIOUS)),
        (true, kinds.true, MISSED, THICK),
    )
    layers = [
        ContourLayer(
            instance_map,
            [number for number, each in kind_of.items() if each == kind],
            ERROR_COLORS[kind],
            thickness,
        )
        for instance_map, kind_of, kind, thickness in kinds_of_layers
    ]
    return draw_layers(image, layers)
