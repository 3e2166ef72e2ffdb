"""Predicted nuclei and annotated points over an image, coloured by which lies in which.

Shape legend:
    H, W: height and width of the image, px
    N: number of points
    s: whole factor by which the image is enlarged
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsam_d2.evaluation.error_kinds import FOUND, MERGED, MISSED, SPURIOUS
from selfsam_d2.evaluation.point_matches import (
    NO_POINT,
    NOT_COUNTED,
    ONE_POINT,
    SEVERAL_POINTS,
    PointMatches,
)
from selfsam_d2.visualization.contour_layers import ContourLayer, draw_layers, drawing_factor
from selfsam_d2.visualization.error_overlay import ERROR_COLORS
from selfsam_d2.visualization.overlay import draw_points

__all__ = ["NUCLEUS_COLORS", "POINT_COLORS", "draw_point_matches"]

# What would be an error of the same kind, were the points masks, has the same colour.
NUCLEUS_COLORS = {
    ONE_POINT: ERROR_COLORS[FOUND],
    NO_POINT: ERROR_COLORS[SPURIOUS],
    SEVERAL_POINTS: ERROR_COLORS[MERGED],
    NOT_COUNTED: (120, 120, 120),
}
POINT_COLORS = {"in": ERROR_COLORS[FOUND], "out": ERROR_COLORS[MISSED]}
THICKNESS = {NOT_COUNTED: 1, ONE_POINT: 1, NO_POINT: 2, SEVERAL_POINTS: 2}  # px of the image
RADIUS = {"in": 3, "out": 6}  # px of the drawing


def draw_point_matches(
    image: NDArray[np.uint8],
    instance_map: NDArray[np.integer[Any]],
    points: NDArray[np.floating[Any]],
    matches: PointMatches,
) -> NDArray[np.uint8]:
    """Draw the contours of nuclei and the points; those that lack their counterpart stand out.

    Args:
        image: (H, W, 3) uint8 RGB.
        instance_map: (H, W), predicted.
        points: (N, 2) xy, px of the image.
        matches: of the points and the nuclei.

    Returns:
        (sH, sW, 3) uint8 RGB, see :func:`~selfsam_d2.visualization.contour_layers.drawing_factor`.

    Raises:
        ValueError: the map is not of the size of the image.
    """
    layers = [
        ContourLayer(
            instance_map,
            [number for number, each in matches.of_nucleus.items() if each == kind],
            NUCLEUS_COLORS[kind],
            thickness,
        )
        for kind, thickness in THICKNESS.items()
    ]
    drawn = draw_layers(image, layers)
    inside = matches.of_point > 0
    for place, chosen in (("in", inside), ("out", ~inside)):
        on_drawing = points[chosen] * drawing_factor(image.shape[:2])
        drawn = draw_points(drawn, on_drawing, POINT_COLORS[place], RADIUS[place])
    return drawn
