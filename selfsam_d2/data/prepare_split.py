"""Put one split of a built-in dataset where its name is looked up: what ``datasets/`` shares."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from selfsam_d2.data.folder_pairs import pair_by_stem, prepare_coco_json
from selfsam_d2.data.registration import builtin_paths, dataset_root
from selfsam_d2.data.splits import BUILTIN_SPLITS, check_split
from selfsam_d2.errors import InputError
from selfsam_d2.structures.centre import CENTRE_RULES

__all__ = [
    "add_split_options",
    "check_images_of_split",
    "label_folder",
    "prepare_split",
    "write_label_map",
]


def add_split_options(parser: argparse.ArgumentParser, dataset: str) -> None:
    """Add what every script takes: split, images, output, points, and images of one's own choice.

    Args:
        parser: of the script, which adds where its labels are.
        dataset: key of :data:`~selfsam_d2.data.splits.BUILTIN_SPLITS`.
    """
    parser.add_argument("--split", choices=BUILTIN_SPLITS[dataset], required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder of the images")
    parser.add_argument(
        "--output",
        type=Path,
        default=dataset_root(),
        help="root of all datasets (default: $DETECTRON2_DATASETS, or datasets)",
    )
    parser.add_argument("--points-only", action="store_true", help="leave the masks out")
    parser.add_argument(
        "--centre", choices=CENTRE_RULES, default="centroid", help="where the point is"
    )
    parser.add_argument(
        "--any-images",
        action="store_true",
        help="a split of your own: do not compare the images with the splits known here",
    )


def check_images_of_split(
    dataset: str, options: argparse.Namespace, images: Mapping[str, Path]
) -> None:
    """See that these are the images of the official split, unless ``--any-images`` is given.

    Names alone do not tell the splits of CPM17 apart, so none may be an image of another split that
    is prepared already.

    Args:
        dataset: as for :func:`add_split_options`.
        options: as parsed with the options of :func:`add_split_options`.
        images: stem -> image.

    Raises:
        InputError: images are missing or do not belong to the split.
    """
    if options.any_images:
        return
    check_split(dataset, options.split, images, options.images)
    digests = {_digest(path): path for path in images.values()}
    for other in BUILTIN_SPLITS[dataset]:
        folder = builtin_paths(dataset, other, options.output).image_root
        if other == options.split or not folder.is_dir():
            continue
        for prepared in sorted(each for each in folder.iterdir() if each.is_file()):
            same = digests.get(_digest(prepared))
            if same is not None:
                raise InputError(
                    same,
                    f"is {prepared} of the {other} split; give the images of the {options.split} "
                    f"split, or remove {folder} if it was made from the wrong ones",
                )


def label_folder(dataset: str, options: argparse.Namespace) -> Path:
    """Where a script puts label maps that it makes itself."""
    return builtin_paths(dataset, options.split, options.output).image_root.parent / "labels"


def write_label_map(
    label_map: npt.NDArray[np.integer[Any]], target: Path, source: str | Path
) -> None:
    """Write a label map as 16-bit PNG; its folder is made, and a reader sees all of it or none.

    Args:
        label_map: (H, W), ids from 0 to 65,535.
        target: the PNG.
        source: what it was made from, for the message.

    Raises:
        InputError: an id does not fit into 16 bits, or the file cannot be written.
    """
    largest_id = int(label_map.max())
    if largest_id > np.iinfo(np.uint16).max:
        raise InputError(source, f"{largest_id} nuclei are too many for a 16-bit label map")
    unfinished = target.with_name(f".{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(label_map.astype(np.uint16)).save(unfinished, format="PNG")
        os.replace(unfinished, target)
    except OSError as error:
        raise InputError(target, f"cannot be written ({error.strerror})") from error


def prepare_split(
    dataset: str,
    options: argparse.Namespace,
    images: Mapping[str, Path],
    labels: Mapping[str, Path],
) -> str:
    """Link the images to their place and write the COCO JSON.

    Args:
        dataset: as for :func:`add_split_options`.
        options: as parsed with the options of :func:`add_split_options`.
        images: stem -> image.
        labels: stem -> label map.

    Returns:
        Two lines: what was written, and the name under which it is registered.

    Raises:
        InputError: an image has no label map or the other way round, a file cannot be used or
            written, or the label maps hold no nucleus.
    """
    paths = builtin_paths(dataset, options.split, options.output)
    pair_by_stem(images, labels, "label map")  # before anything is written
    prepared = prepare_coco_json(
        pair_by_stem(_link_images(images, paths.image_root), labels, "label map"),
        paths.json_file,
        paths.image_root,
        points_only=options.points_only,
        centre=options.centre,
    )
    return (
        f"{prepared.summary()}\nregistered as {dataset}_{options.split} "
        f"with DETECTRON2_DATASETS={options.output}\n"
    )


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})") from error


def _link_images(images: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Link the images into ``folder`` under their own names, or copy them; stem -> path there."""
    linked: dict[str, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stem, image in images.items():
            target = folder / image.name
            linked[stem] = target
            if target.exists() and target.samefile(image):
                continue
            target.unlink(missing_ok=True)
            try:
                target.symlink_to(image.resolve())
            except OSError:  # no links on this file system, or no right to make them
                shutil.copyfile(image, target)
    except OSError as error:
        raise InputError(folder, f"cannot be written ({error.strerror})") from error
    return linked
