"""From a foreground map and an HV map to an instance map.

The recipe is HoVer-Net's (Graham et al., Medical Image Analysis 58, 2019): HV maps rise across a
nucleus and fall steeply from one nucleus to its neighbour, so their derivative shows the borders.

Shape legend:
    H, W: height and width of the image, px
    N: number of nuclei found
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsam_d2.errors import InputError
from selfsam_d2.modeling.marker_watershed import marker_watershed, owners_of_markers

__all__ = ["PostProcessSettings", "separate_nuclei"]

FloatArray = NDArray[np.floating[Any]]

# Pixels that touch only at a corner belong to different objects, as in the watershed below.
CONNECTIVITY = 4
MAX_SOBEL_KERNEL = 31  # the largest that OpenCV takes


@dataclass(frozen=True)
class PostProcessSettings:
    """Thresholds and sizes of :func:`separate_nuclei`.

    The two settings of the markers are the ones that bring true maps back best: on the four
    MoNuSeg development images a marker threshold of 0.4 with an opening of 3 px returns an AJI of
    0.981, 0.4 with 5 px 0.967, and 0.5 with 5 px 0.945.

    Args:
        foreground_threshold: foreground where the probability is at least this, in (0, 1].
        min_object_area: connected foreground of fewer px² is dropped; 0 keeps all.
        sobel_kernel: side of the Sobel kernel in px, odd, 1 to 31. Large: smooth borders; small:
            follows narrow nuclei, and noise.
        marker_threshold: a marker is where the border energy is below this, in [0, 1].
        marker_opening: side in px, odd, of the ellipse that opens the markers; 1 = no opening.
        min_marker_area: markers of fewer px² are dropped; 0 keeps all.
        smoothing_kernel: side in px, odd, of the Gaussian that smooths the energy before the
            watershed; 1 = no smoothing.

    Raises:
        InputError: if a setting is out of its range.
    """

    foreground_threshold: float = 0.7
    min_object_area: int = 20
    sobel_kernel: int = 21
    marker_threshold: float = 0.4
    marker_opening: int = 3
    min_marker_area: int = 10
    smoothing_kernel: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.foreground_threshold <= 1:
            _refuse("foreground_threshold", "above 0 and at most 1", self.foreground_threshold)
        if not 0 <= self.marker_threshold <= 1:
            _refuse("marker_threshold", "from 0 to 1", self.marker_threshold)
        for name in ("min_object_area", "min_marker_area"):
            if getattr(self, name) < 0:
                _refuse(name, "of at least 0", getattr(self, name))
        for name in ("sobel_kernel", "marker_opening", "smoothing_kernel"):
            if getattr(self, name) < 1 or getattr(self, name) % 2 == 0:
                _refuse(name, "that is odd and at least 1", getattr(self, name))
        if self.sobel_kernel > MAX_SOBEL_KERNEL:
            _refuse("sobel_kernel", f"of at most {MAX_SOBEL_KERNEL}", self.sobel_kernel)


def _refuse(name: str, expected: str, value: float) -> None:
    raise InputError(name, f"expected a number {expected}, but got {value}")


def separate_nuclei(
    foreground: FloatArray, hv: FloatArray, settings: PostProcessSettings
) -> NDArray[np.int32]:
    r"""Split the foreground into nuclei along the steep falls of the HV map.

    With :math:`n(\cdot)` the min-max normalisation over the image, :math:`S_x, S_y` the Sobel
    derivatives, :math:`b` the foreground without small objects and with its holes filled, and
    :math:`G` a Gaussian:

    .. math::
        E = \max\big(1 - n(S_x HV_x),\; 1 - n(S_y HV_y)\big), \qquad
        \text{markers} = \text{open}\big(b \wedge E < \text{marker\_threshold}\big), \qquad
        \text{map} = \text{watershed}\big(-G * ((1 - E)\, b),\; \text{markers}\big)

    A connected object without a marker (too narrow, or an HV map without a slope) stays one
    nucleus, so no foreground that passed ``min_object_area`` is lost.

    Args:
        foreground: :math:`B`, (H, W) probabilities in [0, 1].
        hv: :math:`D`, (2, H, W) in the order x, y, about [-1, 1]; any positive scale per axis
            gives the same result.
        settings: thresholds and sizes.

    Returns:
        (H, W) int32 instance map: 0 background, 1..N nuclei without gaps.

    Raises:
        ValueError: if the shapes don't match, or a value is not finite.
    """
    _check_maps(foreground, hv)
    with ThreadPoolExecutor(2) as pool:  # OpenCV and numpy hold no lock of the interpreter
        falls = [pool.submit(_fall, hv, axis, settings.sobel_kernel) for axis in (0, 1)]
        inside = _fill_holes(
            _drop_small(foreground >= settings.foreground_threshold, settings.min_object_area)
        )
        objects = _label_objects(inside)
        first, second = (each.result() for each in falls)
        energy = np.maximum(first, second, out=first)
        landscape = pool.submit(_landscape, energy, inside, settings.smoothing_kernel)
        markers, owners = _label_markers(objects, energy, settings)
    return marker_watershed(landscape.result(), markers, objects, owners)


def _check_maps(foreground: FloatArray, hv: FloatArray) -> None:
    if foreground.ndim != 2 or foreground.size == 0:
        raise ValueError(
            "Expected argument `foreground` to be of shape (H, W) with at least one pixel, but "
            f"got {foreground.shape}."
        )
    if hv.shape != (2, *foreground.shape):
        raise ValueError(
            f"Expected argument `hv` to be of shape {(2, *foreground.shape)}, but got {hv.shape}."
        )
    for name, values in (("foreground", foreground), ("hv", hv)):
        # Both are NaN where any value is.
        if not np.isfinite([values.min(), values.max()]).all():
            raise ValueError(f"Expected argument `{name}` to be finite, but got NaN or infinity.")


def _drop_small(mask: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    """Keep the connected parts of at least `min_area` px²."""
    parts, areas = _label_parts(mask)
    keep = areas >= min_area
    if keep[1:].all():
        return mask
    keep[0] = False
    return np.take(keep, parts)


def _label_parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Connected parts (H, W), 0 or 1 ... n, and areas (n + 1,), px², the background's first."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=CONNECTIVITY, ltype=cv2.CV_32S
    )
    areas = np.asarray(statistics, dtype=np.int32)[:, cv2.CC_STAT_AREA]
    return np.asarray(parts, dtype=np.int32), areas


def _fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add the connected parts of the background that don't reach the edge of the image."""
    parts = _label_objects(~mask)
    hole = np.ones(int(parts.max()) + 1, dtype=bool)
    for edge in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        hole[edge] = False
    hole[0] = False  # the mask itself
    if not hole.any():
        return mask
    hole[0] = True
    return np.take(hole, parts)


def _label_objects(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """(H, W) int32: 0, or the number of the connected object."""
    _, objects = cv2.connectedComponents(mask.view(np.uint8), connectivity=CONNECTIVITY)
    return np.asarray(objects, dtype=np.int32)


def _fall(hv: FloatArray, axis: int, sobel_kernel: int) -> NDArray[np.float64]:
    """One of the two terms of E, (H, W) in [0, 1]: high where the map of an axis falls."""
    values = np.ascontiguousarray(hv[axis], dtype=np.float64)
    slope = cv2.Sobel(values, cv2.CV_64F, 1 - axis, axis, ksize=sobel_kernel)
    scaled = _scale_to_unit(np.asarray(slope, dtype=np.float64))
    return np.subtract(1, scaled, out=scaled)


def _landscape(
    energy: NDArray[np.float64], inside: NDArray[np.bool_], smoothing_kernel: int
) -> NDArray[np.float64]:
    """What is flooded, (H, W): low where borders are far, 0 outside."""
    depth = np.subtract(energy, 1)
    depth *= inside
    kernel = (smoothing_kernel, smoothing_kernel)
    return np.asarray(cv2.GaussianBlur(depth, kernel, 0), dtype=np.float64)


def _scale_to_unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale to [0, 1] in place; a constant gives 0, which as a slope means no marker anywhere."""
    low, high = values.min(), values.max()
    values -= low
    if high > low:
        values /= high - low
    return values


def _label_markers(
    objects: NDArray[np.int32], energy: NDArray[np.float64], settings: PostProcessSettings
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(H, W) int32 markers 1..N; an object that holds none is a marker as a whole.

    Also (N + 1,) the object of each marker, 0 for 0.
    """
    ellipse = cv2.getStructuringElement(
        cv2.MORPH_ELLIPSE, (settings.marker_opening, settings.marker_opening)
    )
    candidates = ((objects > 0) & (energy < settings.marker_threshold)).view(np.uint8)
    opened = np.asarray(cv2.morphologyEx(candidates, cv2.MORPH_OPEN, ellipse))
    parts, areas = _label_parts(opened.view(np.bool_))
    keep = areas >= settings.min_marker_area
    keep[0] = False
    markers = np.take(np.where(keep, np.cumsum(keep), 0).astype(np.int32), parts)
    owners = owners_of_markers(markers, objects)
    unmarked = np.setdiff1d(np.arange(1, int(objects.max()) + 1), owners)
    if len(unmarked):
        numbers = np.zeros(int(objects.max()) + 1, dtype=np.int32)
        numbers[unmarked] = len(owners) + np.arange(len(unmarked))
        markers += np.take(numbers, objects)
        owners = np.concatenate([owners, unmarked]).astype(np.int32)
    return markers, owners
