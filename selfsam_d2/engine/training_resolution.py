"""The µm/px of a training, to which ``tools/predict.py`` brings images of another resolution."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from selfsam_d2.engine.checks import RANGES
from selfsam_d2.errors import InputError
from selfsam_d2.structures.resolution import is_same_resolution

__all__ = ["agreed_resolution", "set_training_resolution"]

KEY = "INPUT.NUCLEI.MICRONS_PER_PIXEL"


def set_training_resolution(cfg: CfgNode) -> str:
    """Take INPUT.NUCLEI.MICRONS_PER_PIXEL over from the training images, if all of them state it.

    Each process of a training comes to the same result: only files are looked at.

    Args:
        cfg: not frozen; datasets that are not registered are passed over.

    Returns:
        the resolution in words, and where it is from.

    Raises:
        InputError: as :func:`agreed_resolution`; or a dataset cannot be read.
    """
    stated, images = {}, 0
    for name in cfg.DATASETS.TRAIN:
        for record in DatasetCatalog.get(name) if name in DatasetCatalog else ():
            images += 1
            if record.get("microns_per_pixel") is not None:
                stated[record["file_name"]] = float(record["microns_per_pixel"])
    key = cfg.INPUT.NUCLEI.MICRONS_PER_PIXEL
    found = agreed_resolution(stated, key)
    if key:
        return f"{key:g} µm/px, of the config"
    if not stated or len(stated) < images:
        return f"unknown, stated by {len(stated)} of {images} images; {KEY} sets it"
    cfg.INPUT.NUCLEI.MICRONS_PER_PIXEL = found
    return f"{found:.3g} µm/px, stated by {images} images"


def agreed_resolution(stated: Mapping[str, float], key: float) -> float:
    """One resolution that differs by less than 10% from that of each image.

    Args:
        stated: image -> µm/px, above 0; without those that state none.
        key: of the config; 0: unknown.

    Returns:
        ``key``, or where it is 0 the mean; 0 if no image states any.

    Raises:
        InputError: there is none such.
    """
    largest = RANGES[KEY][1]
    for image, microns in stated.items():
        if microns > largest:
            raise InputError(
                image,
                f"states {microns:g} µm/px, which is at most {largest:g}; mend "
                "microns_per_pixel in its JSON",
            )
        if key and not is_same_resolution(key, microns):
            raise InputError(
                image,
                f"states {microns:g} µm/px, but {KEY} is {key:g}; rescale image and points, or "
                f"set {KEY} to {microns:g}",
            )
    if key or not stated:
        return key
    finest, coarsest = (chosen(stated, key=stated.__getitem__) for chosen in (min, max))
    if not is_same_resolution(stated[coarsest], stated[finest]):
        raise InputError(
            finest,
            f"states {stated[finest]:g} µm/px, but {coarsest} {stated[coarsest]:g}; rescale images "
            "and points to one resolution, or train on those of one",
        )
    return fmean(stated.values())
