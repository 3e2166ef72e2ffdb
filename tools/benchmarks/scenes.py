"""Seeded inputs of the measurements; nothing is downloaded and no weights are needed."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.segmentation import relabel_sequential
from torch import Tensor

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.losses.hv import hv_map

__all__ = ["CROP", "Maps", "make_crop", "make_image", "make_maps", "make_pair"]

Maps = tuple[NDArray[np.float32], NDArray[np.float32]]

CROP = 224  # px
DENSITY = 1 / 1000  # nuclei per px², as in the dense images of MoNuSeg
SCENE = 1000  # px; larger images repeat it, since placing nuclei takes long


def make_image(side: int, nuclei: int | None = None) -> tuple[Tensor, NDArray[np.int32]]:
    """An H&E-like image (3, side, side) uint8 RGB and its instance map."""
    wanted = round(DENSITY * side**2) if nuclei is None else nuclei
    if side > SCENE:
        return _repeat(*make_image(SCENE, round(wanted * (SCENE / side) ** 2)), side)
    # Some of those wanted find no room.
    image, instance_map = make_synthetic_image(
        np.random.default_rng(0), side, wanted + wanted // 10
    )
    instance_map[instance_map > wanted] = 0
    return torch.from_numpy(image).permute(2, 0, 1).contiguous(), instance_map


def _repeat(
    image: Tensor, instance_map: NDArray[np.int32], side: int
) -> tuple[Tensor, NDArray[np.int32]]:
    times = -(-side // SCENE)
    blocks = np.arange(times**2, dtype=np.int32).reshape(times, times) * instance_map.max()
    offsets = np.kron(blocks, np.ones((SCENE, SCENE), dtype=np.int32))
    repeated = np.tile(instance_map, (times, times))
    cut = np.where(repeated, repeated + offsets, 0)[:side, :side]
    return image.repeat(1, times, times)[:, :side, :side], relabel_sequential(cut)[0]


def make_crop(points: int, side: int = CROP) -> dict[str, Any]:
    """A training crop with so many points, as the mapper gives it."""
    image, _ = make_image(side)
    rng = np.random.default_rng(1)
    places = torch.from_numpy(rng.uniform(0, side, (points, 2))).float()
    return {
        "image": image,
        "points": places,
        "context_points": places,
        "outside": torch.zeros(side, side, dtype=torch.bool),
        "image_id": 1,
    }


def make_maps(instance_map: NDArray[np.int32]) -> Maps:
    """What a good network says of an instance map: (H, W) foreground, (2, H, W) HV, with noise."""
    rng = np.random.default_rng(2)
    foreground = cv2.GaussianBlur((instance_map > 0).astype(np.float32), (3, 3), 0)
    maps = hv_map(torch.from_numpy(instance_map)).numpy()
    return foreground, maps + rng.normal(0, 0.05, maps.shape).astype(np.float32)


def make_pair(instance_map: NDArray[np.int32]) -> NDArray[np.int32]:
    """A prediction of an instance map: each nucleus moved by (3, 2) px, some missed, some split."""
    moved = np.roll(instance_map, (2, 3), axis=(0, 1))
    columns = np.arange(moved.shape[1])
    split = (moved % 7 == 1) & (columns // 8 % 2 == 0)
    return np.where(moved % 10 == 0, 0, moved + split * instance_map.max()).astype(np.int32)
