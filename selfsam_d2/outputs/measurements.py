"""What is measured of each nucleus: size, shape, stain and place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2hed
from skimage.measure import regionprops_table

__all__ = ["measure_nuclei"]

FloatColumn = NDArray[np.float64]
SHAPE = ("area", "perimeter", "eccentricity", "solidity")
LENGTHS = {"area": 2, "perimeter": 1, "x": 1, "y": 1}  # column -> power of a length


def measure_nuclei(
    image: NDArray[np.uint8],
    instance_map: NDArray[np.integer[Any]],
    *,
    microns_per_pixel: float | None = None,
    origin: tuple[float, float] = (0.0, 0.0),
) -> dict[str, NDArray[Any]]:
    """One row per nucleus, in ascending order of the ids.

    ``area`` is a number of pixels; ``perimeter``, ``eccentricity`` (of the ellipse with the same
    second moments, in [0, 1]) and ``solidity`` (area over that of the convex hull, in (0, 1]) are
    those of :func:`skimage.measure.regionprops`; ``haematoxylin`` is the mean concentration of
    the stain after colour deconvolution (Ruifrok & Johnston 2001, :func:`skimage.color.rgb2hed`);
    ``x`` and ``y`` are the centroid, where the middle of the first pixel is (0.5, 0.5).

    Args:
        image: (H, W, 3) uint8 RGB.
        instance_map: (H, W) integers; 0 background, ids above 0 (gaps allowed), -1 ignore.
        microns_per_pixel: adds columns in µm and µm² beside those in px and px²; None: unknown.
        origin: xy in px of the image's upper left corner in what it was cut from; added to x, y.

    Returns:
        name of a column -> its N values: ``id`` (int64), then floats: ``area_px``,
        ``perimeter_px``, ``eccentricity``, ``solidity``, ``haematoxylin``, ``x_px``, ``y_px``,
        and with ``microns_per_pixel`` ``area_um2``, ``perimeter_um``, ``x_um`` and ``y_um``.

    Raises:
        ValueError: image and map are not of one size, or ``microns_per_pixel`` is not above 0.
    """
    if image.shape != (*instance_map.shape, 3):
        raise ValueError(
            "Expected arguments `image` (H, W, 3) and `instance_map` (H, W) to be of one size, but "
            f"got {image.shape} and {instance_map.shape}."
        )
    if microns_per_pixel is not None and not microns_per_pixel > 0:
        raise ValueError(
            f"Expected argument `microns_per_pixel` to be above 0, but got {microns_per_pixel}."
        )
    found = _measured(image, np.maximum(instance_map, 0).astype(np.int64), origin)
    table: dict[str, NDArray[Any]] = {"id": found["label"].astype(np.int64)}
    for name in (*SHAPE, "haematoxylin", "x", "y"):
        unit = "_px" if name in LENGTHS else ""
        table[name + unit] = found[name].astype(np.float64)
    if microns_per_pixel is not None:
        for name, power in LENGTHS.items():
            unit = "_um2" if power == 2 else "_um"
            table[name + unit] = table[f"{name}_px"] * microns_per_pixel**power
    return table


def _measured(
    image: NDArray[np.uint8], labels: NDArray[np.int64], origin: tuple[float, float]
) -> dict[str, NDArray[Any]]:
    """What skimage measures, by our names, lengths in px."""
    found: dict[str, NDArray[Any]] = regionprops_table(
        labels,
        intensity_image=rgb2hed(image)[..., 0],
        properties=("label", *SHAPE, "intensity_mean", "centroid"),
    )
    # A centroid of skimage is in the frame in which the middle of the first pixel is (0, 0).
    found["x"] = found.pop("centroid-1") + 0.5 + origin[0]
    found["y"] = found.pop("centroid-0") + 0.5 + origin[1]
    found["haematoxylin"] = found.pop("intensity_mean")
    return found
