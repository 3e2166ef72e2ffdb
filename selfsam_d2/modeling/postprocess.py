"""From foreground map and HV maps to instances (HoVer-Net's recipe)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from skimage.morphology import remove_small_objects
from skimage.segmentation import watershed

__all__ = ["PostProcessSettings", "separate_nuclei"]


@dataclass(frozen=True)
class PostProcessSettings:
    foreground_threshold: float = 0.7
    min_object_area: int = 20
    sobel_kernel: int = 21
    marker_threshold: float = 0.5
    marker_opening: int = 5
    min_marker_area: int = 10


def separate_nuclei(foreground, hv, settings):
    def drop(mask, area):
        lab, n = ndimage.label(mask)
        count = np.bincount(lab.ravel())
        keep = count >= area
        keep[0] = False
        return keep[lab]

    binary = ndimage.binary_fill_holes(drop(foreground >= settings.foreground_threshold, settings.min_object_area))
    def norm(a):
        return (a - a.min()) / (a.max() - a.min() + 1e-12)
    sobel = np.maximum(
        1 - norm(cv2.Sobel(hv[0].astype(np.float64), cv2.CV_64F, 1, 0, ksize=settings.sobel_kernel)),
        1 - norm(cv2.Sobel(hv[1].astype(np.float64), cv2.CV_64F, 0, 1, ksize=settings.sobel_kernel)),
    )
    energy = np.clip(sobel - (1 - binary), 0, None)
    landscape = -cv2.GaussianBlur((1 - energy) * binary, (3, 3), 0)
    markers = (binary & (energy < settings.marker_threshold)).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (settings.marker_opening,) * 2)
    markers = drop(cv2.morphologyEx(markers, cv2.MORPH_OPEN, kernel), settings.min_marker_area)
    seeds, n = ndimage.label(markers)
    objects, m = ndimage.label(binary)
    has = np.zeros(m + 1, bool)
    has[objects[seeds > 0]] = True
    lone = binary & ~has[objects]
    seeds[lone] = objects[lone] + n
    return watershed(landscape, seeds, mask=binary).astype(np.int32)
