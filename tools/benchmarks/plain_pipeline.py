"""Post-processing and prediction as they are commonly written, one step after the other."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from segment_anything.utils.transforms import ResizeLongestSide
from skimage.measure import label
from skimage.segmentation import watershed
from torch import Tensor
from torch.nn import functional as F

from selfsam_d2.modeling.backbone import EMBEDDING
from selfsam_d2.modeling.postprocess import PostProcessSettings
from selfsam_d2.modeling.sliding_window import window_grid

__all__ = ["plain_postprocess", "predict_window_by_window"]


def plain_postprocess(
    foreground: NDArray[np.float32], hv: NDArray[np.float32], settings: PostProcessSettings
) -> NDArray[np.int32]:
    """The recipe of ``separate_nuclei`` with one call of OpenCV or scikit-image for each step."""
    inside = _drop_small(foreground >= settings.foreground_threshold, settings.min_object_area)
    inside = ndimage.binary_fill_holes(inside)
    size = settings.sobel_kernel
    slopes = (
        cv2.Sobel(hv[0].astype(np.float64), cv2.CV_64F, 1, 0, ksize=size),
        cv2.Sobel(hv[1].astype(np.float64), cv2.CV_64F, 0, 1, ksize=size),
    )
    scaled = [(slope - slope.min()) / (slope.max() - slope.min()) for slope in slopes]
    energy = np.maximum(1 - scaled[0], 1 - scaled[1])
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (settings.marker_opening,) * 2)
    markers = (inside & (energy < settings.marker_threshold)).astype(np.uint8)
    markers = cv2.morphologyEx(markers, cv2.MORPH_OPEN, ellipse) > 0
    markers = _drop_small(markers, settings.min_marker_area)
    objects = label(inside, connectivity=1)
    # An object without a marker is one.
    markers |= inside & ~np.isin(objects, np.unique(objects[markers]))
    landscape = -cv2.GaussianBlur((1 - energy) * inside, (settings.smoothing_kernel,) * 2, 0)
    return watershed(landscape, label(markers, connectivity=1), mask=inside).astype(np.int32)


def _drop_small(mask: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    # As scikit-image's remove_small_objects, whose arguments differ between its versions.
    parts = label(mask, connectivity=1)
    keep = np.bincount(parts.ravel()) >= min_area
    keep[0] = False
    return keep[parts]


@torch.no_grad()
def predict_window_by_window(
    model: Any, image: NDArray[np.uint8], window: int, overlap: int
) -> NDArray[np.float32]:
    """The maps (3, H, W) of a whole image, with a call as of a ``SamPredictor`` for each window.

    Args:
        model: SelfSAM; its encoder and head are those of the other side.
        image: (H, W, 3) RGB.
        window: side, px.
        overlap: px shared by neighbouring windows.
    """
    height, width = image.shape[:2]
    maps = np.zeros((3, height, width), np.float32)
    margin = overlap // 2
    for top, left in window_grid(height, width, window, overlap):
        predicted = _predict_window(model, image[top : top + window, left : left + window])
        # Centre parts are kept, and the border of the image.
        y = slice(0 if top == 0 else margin, window if top + window == height else window - margin)
        x = slice(0 if left == 0 else margin, window if left + window == width else window - margin)
        maps[:, top + y.start : top + y.stop, left + x.start : left + x.stop] = predicted[:, y, x]
    return maps


def _predict_window(model: Any, window: NDArray[np.uint8]) -> NDArray[np.float32]:
    resized = ResizeLongestSide(model.input_side).apply_image(window)
    tensor = torch.as_tensor(resized, device=model.device).permute(2, 0, 1).contiguous()[None]
    embedding = model.backbone((tensor - model.pixel_mean) / model.pixel_std)[EMBEDDING]
    head: Tensor = model.nuclei_head(embedding)
    head = F.interpolate(head, window.shape[:2], mode="bilinear", align_corners=False)[0]
    return torch.cat([head[:1].sigmoid(), head[1:]]).cpu().numpy()
