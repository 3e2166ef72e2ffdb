"""Synthetic H&E images with known nuclei, made by the physics of staining.

Concentrations of haematoxylin and eosin are painted, turned into optical density with the stain
vectors that Macenko et al. (ISBI 2009) take as reference, and into light with the law of Lambert
and Beer. The images serve a demonstration and tests; they are no substitute for tissue.

Shape legend:
    H, W: height and width of the image, px
    h, w: height and width of the box of one nucleus, px
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from selfsam_d2.data.coco_json import coco_from_instance_maps, write_coco_json
from selfsam_d2.errors import InputError

__all__ = ["SyntheticSplit", "make_synthetic_image", "write_synthetic_dataset"]

FloatArray = NDArray[np.float64]

# Optical density of haematoxylin and eosin in red, green and blue.
STAIN_VECTORS = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
MIN_SIDE = 32  # px
# Nuclei per px²: about that of MoNuSeg at 40x.
DENSITY = 1 / 850
# A nucleus is not placed where others would hide more than this share of it.
MAX_HIDDEN = 0.25
TRIES_PER_NUCLEUS = 12
SHARE_TOUCHING = 0.35


@dataclass(frozen=True)
class NucleusKind:
    """A population of nuclei.

    Attributes:
        share: of the nuclei of an image.
        radius: range of the mean radius, px.
        elongation: range of the ratio of the axes.
        stain: range of the haematoxylin concentration, optical density.
        texture: relative strength of the chromatin clumps.
        rim: relative extra stain of the nuclear membrane.
    """

    share: float
    radius: tuple[float, float]
    elongation: tuple[float, float]
    stain: tuple[float, float]
    texture: float
    rim: float


KINDS = (
    NucleusKind(0.55, (8.0, 12.5), (1.0, 1.6), (0.35, 0.8), 0.35, 0.55),  # epithelial, vesicular
    NucleusKind(0.25, (5.5, 7.5), (1.0, 1.2), (0.9, 1.3), 0.2, 0.1),  # lymphocyte: small, dark
    NucleusKind(0.20, (6.0, 8.0), (2.0, 3.2), (0.5, 1.0), 0.25, 0.2),  # spindle-shaped, of stroma
)


@dataclass(frozen=True)
class SyntheticSplit:
    """Where one split of a synthetic dataset lies.

    Attributes:
        json_file: COCO JSON.
        image_root: folder of its images.
    """

    json_file: Path
    image_root: Path


def make_synthetic_image(
    rng: np.random.Generator, size: int, nuclei: int
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    r"""Draw an H&E-like image and the map of its nuclei.

    With the concentrations :math:`c_H, c_E`, the stain vectors :math:`s_H, s_E`, a Gaussian
    :math:`G` for the optics and noise :math:`n` of the camera:

    .. math:: I = 255 \cdot G * 10^{-(c_H s_H + c_E s_E)} + n

    Args:
        rng: all that is drawn comes from here.
        size: side of the square image, px.
        nuclei: how many are wanted; fewer if there is no room.

    Returns:
        image (size, size, 3) uint8 RGB; instance map (size, size) int32, 0 background, 1..N
        nuclei without gaps, each 4-connected. Some nuclei touch, none overlap in the map.

    Raises:
        ValueError: ``size`` below 32 or ``nuclei`` negative.
    """
    if size < MIN_SIDE:
        raise ValueError(f"Expected argument `size` to be at least {MIN_SIDE}, but got {size}.")
    if nuclei < 0:
        raise ValueError(f"Expected argument `nuclei` to be at least 0, but got {nuclei}.")
    direction = rng.uniform(0, math.pi)
    eosin = _paint_stroma(rng, size, direction)
    haematoxylin = 0.05 + 0.03 * _noise(rng, size, 12)
    instance_map = np.zeros((size, size), dtype=np.int32)
    for _ in range(nuclei):
        _add_nucleus(rng, instance_map, haematoxylin, eosin, direction)
    return _develop(rng, haematoxylin, eosin), instance_map


def write_synthetic_dataset(
    folder: str | Path, seed: int, train: int = 8, val: int = 4, size: int = 256
) -> dict[str, SyntheticSplit]:
    """Write synthetic images as PNG with their COCO JSON files; the same bytes for a seed.

    ``train`` has points only, ``val`` also masks. An earlier synthetic dataset in ``folder`` is
    replaced.

    Args:
        folder: made if it does not exist.
        seed: of everything drawn.
        train: number of training images, at least 1.
        val: number of validation images, at least 1.
        size: side of an image, px.

    Returns:
        ``train`` and ``val``: ``<folder>/<split>.json`` and ``<folder>/<split>/``.

    Raises:
        InputError: a number is too small, or the folder cannot be written.
    """
    if min(train, val) < 1 or size < MIN_SIDE:
        raise InputError(
            f"{train} training and {val} validation images of {size} px",
            f"at least 1 image each and {MIN_SIDE} px are needed",
        )
    splits = {}
    for index, (split, count) in enumerate((("train", train), ("val", val))):
        root = Path(folder) / split
        json_file = Path(folder) / f"{split}.json"
        try:
            root.mkdir(parents=True, exist_ok=True)
            for earlier in root.glob(f"{split}_*.png"):
                earlier.unlink()
            items = _written_images(root, split, count, size, seed=(seed, index))
            coco = coco_from_instance_maps(items, points_only=split == "train")
        except OSError as error:
            raise InputError(folder, f"cannot be written ({error.strerror})") from error
        write_coco_json(json_file, coco)
        splits[split] = SyntheticSplit(json_file, root)
    return splits


def _written_images(
    root: Path, split: str, count: int, size: int, seed: tuple[int, int]
) -> Iterator[tuple[str, NDArray[np.int32]]]:
    for number in range(count):
        rng = np.random.default_rng((*seed, number))
        nuclei = max(2, round(size * size * DENSITY * rng.uniform(0.85, 1.15)))
        image, instance_map = make_synthetic_image(rng, size, nuclei)
        name = f"{split}_{number:02d}.png"
        Image.fromarray(image).save(root / name)
        yield name, instance_map


def _noise(rng: np.random.Generator, size: int, sigma: float) -> FloatArray:
    """(size, size) smooth noise of mean 0 and standard deviation 1, `sigma` px fine."""
    smooth = ndimage.gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap")
    return np.asarray((smooth - smooth.mean()) / smooth.std())


def _paint_stroma(rng: np.random.Generator, size: int, direction: float) -> FloatArray:
    """(size, size) concentration of eosin: wavy fibres, cytoplasm clouds and pale gaps."""
    rows, columns = np.mgrid[:size, :size].astype(float)
    across = columns * math.sin(direction) - rows * math.cos(direction)
    along = columns * math.cos(direction) + rows * math.sin(direction)
    across = across + 7 * _noise(rng, size, size / 8)
    # Noise stretched along the bent fibres, read from a larger square that wraps around.
    grain = ndimage.gaussian_filter(
        rng.standard_normal((2 * size, 2 * size)), (1.1, 22), mode="wrap"
    )
    fibres = ndimage.map_coordinates(grain, [across, along], order=1, mode="grid-wrap")
    fibres = fibres / fibres.std()
    cellular = 1 / (1 + np.exp(-3 * _noise(rng, size, size / 9)))
    fibrous = 0.30 + 0.11 * fibres
    cytoplasm = 0.26 + 0.04 * _noise(rng, size, 2.5)
    eosin = cellular * cytoplasm + (1 - cellular) * fibrous
    gaps = 1 / (1 + np.exp(-6 * (_noise(rng, size, size / 18) - 1.7)))
    return np.clip(eosin * (1 - 0.85 * gaps) + 0.02 * _noise(rng, size, 1), 0.015, None)


def _add_nucleus(
    rng: np.random.Generator,
    instance_map: NDArray[np.int32],
    haematoxylin: FloatArray,
    eosin: FloatArray,
    direction: float,
) -> None:
    """Place one nucleus and its stain in the maps, if there is room for it."""
    size = len(instance_map)
    kind = KINDS[rng.choice(len(KINDS), p=[each.share for each in KINDS])]
    radius = rng.uniform(*kind.radius)
    elongation = rng.uniform(*kind.elongation)
    spindle = kind.elongation[0] >= 2
    angle = direction + rng.normal(0, 0.25) if spindle else rng.uniform(0, math.pi)
    depth = _depth_of_outline(rng, radius, elongation, angle)
    half = len(depth) // 2
    touching = rng.uniform() < SHARE_TOUCHING
    for _ in range(TRIES_PER_NUCLEUS):
        centre = _draw_centre(rng, instance_map, radius, touching)
        top, left = centre - half
        rows = slice(max(top, 0), min(top + len(depth), size))
        columns = slice(max(left, 0), min(left + len(depth), size))
        part = depth[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        shape = _largest_piece((part > 0) & (instance_map[rows, columns] == 0))
        gap = ndimage.binary_dilation(part > 0, iterations=1 if touching else 3)
        crowded = not touching and (instance_map[rows, columns][gap] > 0).any()
        if crowded or shape.sum() < max(30, (1 - MAX_HIDDEN) * (part > 0).sum()):
            continue
        instance_map[rows, columns][shape] = instance_map.max() + 1
        stain = rng.uniform(*kind.stain) * _chromatin(rng, part, kind)
        haematoxylin[rows, columns] += np.where(shape, stain, 0)
        eosin[rows, columns] *= np.where(shape, 0.55, 1)
        return


def _depth_of_outline(
    rng: np.random.Generator, radius: float, elongation: float, angle: float
) -> FloatArray:
    """(h, w) signed depth below the wobbly outline in px, positive inside, centre in the middle."""
    half = math.ceil(radius * math.sqrt(elongation) * 1.35) + 2
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    along = (columns * math.cos(angle) + rows * math.sin(angle)) / math.sqrt(elongation)
    across = (rows * math.cos(angle) - columns * math.sin(angle)) * math.sqrt(elongation)
    turn = np.arctan2(across, along)
    outline = np.ones_like(turn)
    for order in (2, 3, 4, 5):
        outline += rng.normal(0, 0.07 / order) * np.cos(order * turn + rng.uniform(0, 2 * math.pi))
    return radius * outline - np.hypot(along, across)


def _draw_centre(
    rng: np.random.Generator, instance_map: NDArray[np.int32], radius: float, touching: bool
) -> NDArray[np.int64]:
    """(row, column) anywhere or, for one that touches, just outside of a nucleus already there."""
    size = len(instance_map)
    anywhere = rng.integers(0, size, size=2)
    last = int(instance_map.max())
    if not touching or last == 0:
        return anywhere
    pixels = np.argwhere(instance_map == rng.integers(1, last + 1))
    reach = math.sqrt(len(pixels) / math.pi) + 0.92 * radius
    turn = rng.uniform(0, 2 * math.pi)
    centre = pixels.mean(axis=0) + reach * np.array([math.sin(turn), math.cos(turn)])
    inside = ((centre >= 0) & (centre < size)).all()
    return np.rint(centre).astype(np.int64).clip(0, size - 1) if inside else anywhere


def _largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    return np.asarray(pieces == np.bincount(pieces.ravel())[1:].argmax() + 1)


def _chromatin(rng: np.random.Generator, depth: FloatArray, kind: NucleusKind) -> FloatArray:
    """(h, w) relative stain of a nucleus: clumps, a darker membrane, a soft edge, nucleoli."""
    clumps = ndimage.gaussian_filter(rng.standard_normal(depth.shape), 1.4)
    clumps /= max(float(clumps.std()), 1e-9)
    stain = 1 + kind.texture * clumps + kind.rim * np.exp(-(((depth - 1.2) / 1.1) ** 2))
    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]]
    for row, column in rng.permutation(np.argwhere(depth > 3))[: rng.integers(0, 3)]:
        nucleolus = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 1.3**2))
        stain += 0.8 * kind.rim * nucleolus
    return np.clip(stain, 0.35, None) * np.clip(0.55 + 0.3 * depth, 0, 1)


def _develop(
    rng: np.random.Generator, haematoxylin: FloatArray, eosin: FloatArray
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB from the two concentrations."""
    # Batches of stain differ from slide to slide.
    strengths = rng.uniform(0.88, 1.12, size=2)
    density = np.stack([haematoxylin, eosin], axis=-1) * strengths @ STAIN_VECTORS
    light = ndimage.gaussian_filter(10.0**-density, (0.7, 0.7, 0)) * rng.uniform(0.95, 0.99)
    noisy = 255 * light + rng.normal(0, 2.0, light.shape) * np.sqrt(0.3 + light)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
