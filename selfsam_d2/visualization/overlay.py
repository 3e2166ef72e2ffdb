"""Draw nuclei, points and ignored pixels over an H&E image.

The colours are far from those of the stain and from each other, also for the colour-blind.

Shape legend:
    H, W: height and width of the image, px
    N: number of points
    s: side of a drawn pixel, see ``enlarge``
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.draw import disk
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from selfsam_d2.structures.labels import IGNORE

__all__ = [
    "IGNORED_COLOR",
    "POINT_COLOR",
    "PREDICTED_COLOR",
    "TRUE_COLOR",
    "color_labels",
    "draw_contours",
    "draw_points",
    "enlarge",
    "enlarge_labels",
    "hatch",
]

Color = tuple[int, int, int]
RGBImage = NDArray[np.uint8]
IntegerMap = NDArray[np.integer[Any]]

PREDICTED_COLOR: Color = (255, 230, 0)  # yellow
TRUE_COLOR: Color = (0, 240, 255)  # cyan
POINT_COLOR: Color = (57, 255, 20)  # bright green
IGNORED_COLOR: Color = (20, 20, 20)  # hatching, on white
OUTLINE_COLOR: Color = (0, 0, 0)
HATCH_PERIOD = 6  # px
HATCH_WIDTH = 2  # px
# Hues far apart for neighbours: ids go round in this list.
LABEL_COLORS = np.array(
    [
        (230, 75, 53),
        (0, 130, 200),
        (60, 180, 75),
        (255, 190, 25),
        (145, 30, 180),
        (70, 220, 220),
        (240, 50, 200),
        (128, 90, 20),
        (170, 220, 60),
        (0, 0, 150),
    ],
    dtype=np.float64,
)


def enlarge(image: RGBImage, factor: int) -> RGBImage:
    """Enlarge an image smoothly, so that thin contours can be drawn on it.

    Args:
        image: (H, W, 3) uint8 RGB.
        factor: s, at least 1.

    Returns:
        (sH, sW, 3) uint8.
    """
    if factor == 1:
        return image.copy()
    size = (image.shape[0] * factor, image.shape[1] * factor, 3)
    larger = resize(image, size, order=3, mode="edge", preserve_range=True)
    return np.clip(np.rint(larger), 0, 255).astype(np.uint8)


def enlarge_labels(labels: NDArray[Any], factor: int) -> NDArray[Any]:
    """Enlarge a label map or mask (H, W) to (sH, sW), each pixel a square of side ``factor``."""
    return np.repeat(np.repeat(labels, factor, axis=0), factor, axis=1)


def draw_contours(
    image: RGBImage, instance_map: IntegerMap, color: Color, thickness: int = 1
) -> RGBImage:
    """Draw the outline of each nucleus inside the nucleus, so that touching ones keep a line each.

    Args:
        image: (H, W, 3) uint8 RGB.
        instance_map: (H, W); 0 and -1 have no contour.
        color: RGB.
        thickness: px, at least 1.

    Returns:
        a copy with contours.

    Raises:
        ValueError: the map is not of the size of the image.
    """
    _check_size(image, instance_map)
    drawn = image.copy()
    inner = np.maximum(instance_map, 0).astype(np.int64)
    for _ in range(thickness):
        # A nucleus cut by the border of the image has a contour along it, too.
        contour = find_boundaries(np.pad(inner, 1), mode="inner")[1:-1, 1:-1]
        drawn[contour] = color
        inner[contour] = 0
    return drawn


def draw_points(
    image: RGBImage, points: NDArray[np.floating[Any]], color: Color = POINT_COLOR, radius: int = 2
) -> RGBImage:
    """Draw a disc with a black rim at each point.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (N, 2) xy, continuous px; those outside of the image are clipped away.
        color: RGB.
        radius: of the disc without its rim, px.

    Returns:
        a copy with points.
    """
    drawn = image.copy()
    for margin, paint in ((1.5, OUTLINE_COLOR), (0.5, color)):
        for x, y in np.asarray(points, dtype=np.float64).reshape(-1, 2):
            inside = disk((y - 0.5, x - 0.5), radius + margin, shape=drawn.shape[:2])
            drawn[inside] = paint
    return drawn


def hatch(image: RGBImage, mask: NDArray[np.bool_], color: Color = IGNORED_COLOR) -> RGBImage:
    """Cover the masked pixels with diagonal lines of a colour on white.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool.
        color: RGB of the lines.

    Returns:
        a copy.

    Raises:
        ValueError: the mask is not of the size of the image.
    """
    _check_size(image, mask)
    rows, columns = np.indices(mask.shape)
    lines = (rows + columns) % HATCH_PERIOD < HATCH_WIDTH
    drawn = image.copy()
    drawn[mask & lines] = color
    drawn[mask & ~lines] = (255, 255, 255)
    return drawn


def color_labels(image: RGBImage, labels: IntegerMap, opacity: float = 0.6) -> RGBImage:
    """Show a label map over a pale grey version of the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W): 0 background stays pale, each nucleus takes a colour, -1 is hatched.
        opacity: of the colours, in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the map is not of the size of the image.
    """
    _check_size(image, labels)
    grey = image.astype(np.float64).mean(axis=2, keepdims=True)
    drawn = np.repeat(0.45 * grey + 0.55 * 255, 3, axis=2)
    nuclei = labels > 0
    colors = LABEL_COLORS[(labels[nuclei] - 1) % len(LABEL_COLORS)]
    drawn[nuclei] = (1 - opacity) * drawn[nuclei] + opacity * colors
    return hatch(np.rint(drawn).astype(np.uint8), labels == IGNORE)


def _check_size(image: RGBImage, values: NDArray[Any]) -> None:
    if values.shape != image.shape[:2]:
        raise ValueError(
            f"Expected a map of the size of the image, {image.shape[:2]}, but got {values.shape}."
        )
