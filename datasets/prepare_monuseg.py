"""Put one split of MoNuSeg where monuseg_train, monuseg_val and monuseg_test are looked up.

As published (TIFF images and ImageScope XML, in two folders or in one):

    python datasets/prepare_monuseg.py --split train --images IMAGES --annotations ANNOTATIONS

or from label maps (PNG, TIFF, .npy, any integer type):

    python datasets/prepare_monuseg.py --split val --images IMAGES --labels LABELS

Writes below --output: monuseg/annotations/monuseg_SPLIT.json, monuseg/SPLIT/images (links to the
images, copies where links are not possible) and, from XML, monuseg/SPLIT/labels (label maps).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from selfsam_d2.data.folder_pairs import pair_by_stem, prepare_coco_json
from selfsam_d2.data.images import find_images, image_size
from selfsam_d2.data.imagescope_xml import (
    find_imagescope_xml,
    rasterise_polygons,
    read_imagescope_polygons,
)
from selfsam_d2.data.registration import BUILTIN_SPLITS, builtin_paths, dataset_root
from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.errors import InputError, run_command
from selfsam_d2.structures.centre import CENTRE_RULES
from selfsam_d2.structures.label_maps import find_label_maps


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", choices=BUILTIN_SPLITS["monuseg"], required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder of the images")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--annotations", type=Path, help="folder of the XML files (default: the image folder)"
    )
    source.add_argument("--labels", type=Path, help="folder of label maps, instead of XML")
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
    return parser.parse_args()


def link_images(images: Mapping[str, Path], folder: Path) -> dict[str, Path]:
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


def write_label_map(image: Path, annotation: Path, target: Path) -> None:
    """Write the label map (uint16 PNG) of one XML file and say what its overlaps cost."""
    polygon_map = rasterise_polygons(read_imagescope_polygons(annotation), image_size(image))
    largest_id = int(polygon_map.label_map.max())
    if largest_id > np.iinfo(np.uint16).max:
        raise InputError(annotation, f"{largest_id} outlines are too many for a 16-bit label map")
    unfinished = target.with_name(f".{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(polygon_map.label_map.astype(np.uint16)).save(unfinished, format="PNG")
        os.replace(unfinished, target)
    except OSError as error:
        raise InputError(target, f"cannot be written ({error.strerror})") from error
    if polygon_map.overlap_pixels or polygon_map.lost_outlines:
        sys.stdout.write(
            f"{annotation.name}: {polygon_map.overlap_pixels} pixels in two outlines (given to "
            f"the first), {polygon_map.lost_outlines} outlines left without a pixel\n"
        )


def label_maps_from_xml(
    images: Mapping[str, Path], annotations: Path, folder: Path
) -> dict[str, Path]:
    """Rasterise the XML file of every image into ``folder``; stem -> label map."""
    label_maps: dict[str, Path] = {}
    pairs = pair_by_stem(images, find_imagescope_xml(annotations), "annotation XML")
    for stem, (image, annotation) in pairs.items():
        label_maps[stem] = folder / f"{stem}.png"
        write_label_map(image, annotation, label_maps[stem])
    return label_maps


def main() -> None:
    """Place images and labels, write the JSON, and say what it holds."""
    arguments = parse_arguments()
    paths = builtin_paths("monuseg", arguments.split, arguments.output)
    images = find_images(arguments.images)
    if arguments.labels is not None:
        labels = find_label_maps(arguments.labels)
    else:
        labels = label_maps_from_xml(
            images, arguments.annotations or arguments.images, paths.image_root.parent / "labels"
        )
    pair_by_stem(images, labels, "label map")
    prepared = prepare_coco_json(
        pair_by_stem(link_images(images, paths.image_root), labels, "label map"),
        paths.json_file,
        paths.image_root,
        points_only=arguments.points_only,
        centre=arguments.centre,
    )
    sys.stdout.write(
        f"{prepared.summary()}\nregistered as monuseg_{arguments.split} "
        f"with DETECTRON2_DATASETS={arguments.output}\n"
    )


if __name__ == "__main__":
    run_command(main)
