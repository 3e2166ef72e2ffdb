"""Nuclei without any learning, for comparison: a threshold of the stain and a watershed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.morphology import remove_small_objects
from skimage.segmentation import watershed

__all__ = ["otsu_watershed"]

SMOOTHING = 1.0  # px, sigma, of the stain and of the distance
OPENING = 2  # steps
SMALLEST = 30  # px²
PEAK_DISTANCE = 5  # px between two markers, at least


def otsu_watershed(image: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Find nuclei by colour deconvolution, Otsu's threshold and a watershed of the distance.

    The haematoxylin channel (Ruifrok & Johnston 2001), smoothed, is cut at Otsu's threshold; the
    mask is opened, its holes are filled, objects of up to 30 px² are dropped, and what is left is
    flooded from the peaks of its distance to the background. None of the constants is fitted.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) int32: 0 background, 1 ... N nuclei; all 0 for an image of one colour.
    """
    stain = gaussian(rgb2hed(image)[..., 0], SMOOTHING)
    mask = ndimage.binary_opening(stain > threshold_otsu(stain), iterations=OPENING)
    mask = remove_small_objects(ndimage.binary_fill_holes(mask), max_size=SMALLEST)
    distance = gaussian(ndimage.distance_transform_edt(mask), SMOOTHING)
    objects, _ = ndimage.label(mask)
    peaks = peak_local_max(distance, min_distance=PEAK_DISTANCE, labels=objects)
    markers = np.zeros(image.shape[:2], dtype=np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-distance, markers, mask=mask), dtype=np.int32)
