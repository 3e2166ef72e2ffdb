"""Augmentation as one affine map: resize, shear, rotation, flip and crop, interpolated once.

All coordinates are continuous pixel coordinates, see ``selfsam_d2.structures.points``.
"""

from __future__ import annotations

import cv2
import numpy as np
from fvcore.transforms.transform import Transform

__all__ = ["AffineCropTransform", "draw_affine_crop", "jitter_color"]

HALF_PIXEL = 0.5


class AffineCropTransform(Transform):
    r"""Crop of an affinely mapped image.

    .. math:: x' = A x + b

    in continuous coordinates of the image (x) and of the crop (x').

    Args:
        matrix: (2, 3), [A | b].
        size: (height, width) of the crop, px.
    """

    def __init__(self, matrix: np.ndarray, size: tuple[int, int]) -> None:
        super().__init__()
        self.matrix = np.asarray(matrix, dtype=np.float64)
        self.size = size

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """(H, W[, C]) -> (*size[, C]), bilinear; beyond the image it is mirrored."""
        return self._warp(img, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """(H, W) integer labels -> size, nearest pixel; 0 beyond the image."""
        # OpenCV warps no 64-bit integers; float64 holds every id of a label map exactly.
        warped = self._warp(segmentation.astype(np.float64), cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
        return warped.astype(segmentation.dtype)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """(N, 2) xy of the image -> (N, 2) xy of the crop."""
        coords = np.asarray(coords, dtype=np.float64).reshape(-1, 2)
        return coords @ self.matrix[:, :2].T + self.matrix[:, 2]

    def outside(self, image_size: tuple[int, int]) -> np.ndarray:
        """Pixels of the crop whose centre lies beyond an image (height, width): size, bool."""
        height, width = self.size
        columns, rows = np.meshgrid(np.arange(width) + HALF_PIXEL, np.arange(height) + HALF_PIXEL)
        centres = np.stack([columns.ravel(), rows.ravel()]) - self.matrix[:, 2:]
        x, y = np.linalg.solve(self.matrix[:, :2], centres)
        beyond = (x < 0) | (y < 0) | (x >= image_size[1]) | (y >= image_size[0])
        return beyond.reshape(height, width)

    def resized(self, side: int) -> AffineCropTransform:
        """The same crop, resampled to (side, side) px at once."""
        scale = np.array([[side / self.size[1]], [side / self.size[0]]])
        # Row i of the matrix makes coordinate i: x' comes first.
        return AffineCropTransform(self.matrix * scale, (side, side))

    def apply_cut(self, values: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
        """A cut (h, w) of a map of the image, at xy px of the image -> size; 0 beyond it."""
        offset = self.matrix[:, :2] @ np.asarray(corner, dtype=np.float64)
        matrix = np.column_stack([self.matrix[:, :2], self.matrix[:, 2] + offset])
        moved = AffineCropTransform(matrix, self.size)
        return moved._warp(values, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)

    def inverse(self) -> AffineCropTransform:
        raise NotImplementedError("A crop cannot be undone: what lies outside it is gone.")

    def _warp(self, array: np.ndarray, interpolation: int, border: int) -> np.ndarray:
        # OpenCV counts from the centre of the first pixel.
        by_index = self.matrix.copy()
        by_index[:, 2] += HALF_PIXEL * self.matrix[:, :2].sum(axis=1) - HALF_PIXEL
        height, width = self.size
        return cv2.warpAffine(
            array, by_index, (width, height), flags=interpolation, borderMode=border
        )


def draw_affine_crop(
    rng: np.random.Generator,
    image_size: tuple[int, int],
    crop: int,
    *,
    scale: tuple[float, float] = (0.8, 1.25),
    shear: float = 0.3,
    rotation: float = 90.0,
    flip: float = 0.5,
) -> AffineCropTransform:
    r"""Draw the augmentation of one training crop.

    .. math:: A = R(\phi)\, \mathrm{diag}(\pm 1, 1)\,
        \begin{pmatrix} 1 \pm s u & \pm s u \\ \pm s u & 1 \pm s u \end{pmatrix} c

    with each u uniform in [0, 1], each sign drawn. The centre of the crop is uniform over the
    image less a margin of half a crop, so that most of the crop lies in the image.

    Args:
        rng: what is drawn comes from here only.
        image_size: (height, width), px.
        crop: side of the crop, px.
        scale: range of c, uniform.
        shear: s.
        rotation: phi is uniform in +- rotation, degrees.
        flip: probability of a horizontal flip.
    """
    factor = rng.uniform(*scale)
    signs = rng.choice((-1.0, 1.0), size=(2, 2))
    linear = np.eye(2) + shear * signs * rng.uniform(size=(2, 2))
    angle = np.deg2rad(rng.uniform(-rotation, rotation))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirror = np.diag([-1.0 if rng.uniform() < flip else 1.0, 1.0])
    linear = factor * turn @ mirror @ linear
    height, width = image_size
    centre = np.array([_draw_centre(rng, width, crop), _draw_centre(rng, height, crop)])
    offset = crop / 2 - linear @ centre
    return AffineCropTransform(np.column_stack([linear, offset]), (crop, crop))


def _draw_centre(rng: np.random.Generator, length: int, crop: int) -> float:
    margin = min(crop, length) / 2
    return rng.uniform(margin, length - margin)


def jitter_color(image: np.ndarray, rng: np.random.Generator, amount: float) -> np.ndarray:
    """Brightness, contrast and saturation of an image, each by a factor in 1 +- amount.

    Args:
        image: (H, W, 3) uint8 RGB.
        rng: what is drawn comes from here only.
        amount: in [0, 1); 0 returns the image as it is.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    brightness, contrast, saturation = rng.uniform(1 - amount, 1 + amount, size=3)
    if amount == 0:
        return image
    values = image.astype(np.float32)
    mean = values.mean(axis=(0, 1), keepdims=True)
    values = (values - mean) * contrast + mean * brightness
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * saturation
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
