"""Put one split of TNBC where tnbc_train, tnbc_val and tnbc_test are looked up.

From the published form, Slide_NN/NN_K.png and GT_NN/NN_K.png, of which the patients of the split
are taken (train 01-06, val 07-08, test 09-11):

    python datasets/prepare_tnbc.py --split train --images TNBC_NucleiSegmentation

or from a folder of images and one of label maps:

    python datasets/prepare_tnbc.py --split train --images IMAGES --labels LABELS

The published masks tell nucleus from background only: each connected region becomes a nucleus.

Writes below --output: tnbc/annotations/tnbc_SPLIT.json, tnbc/SPLIT/images (links to the images,
copies where links are not possible) and, from the published form, tnbc/SPLIT/labels (label maps).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from skimage import measure

from selfsam_d2.data.images import find_images
from selfsam_d2.data.prepare_split import (
    add_split_options,
    check_images_of_split,
    label_folder,
    prepare_split,
    write_label_map,
)
from selfsam_d2.data.splits import TNBC_PATIENTS
from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.errors import InputError, run_command
from selfsam_d2.structures.label_maps import find_label_maps, read_label_map

IMAGES, MASKS = "Slide_", "GT_"


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_split_options(parser, "tnbc")
    parser.add_argument(
        "--labels",
        type=Path,
        help="folder of the label maps, or of GT_NN (default: the image folder)",
    )
    return parser.parse_args()


def published_files(
    options: argparse.Namespace, folder: Path, kind: str, find: Callable[[Path], dict[str, Path]]
) -> dict[str, Path]:
    """Stem -> file of the folders ``kind``NN; those of the split's patients, if it is official."""
    files: dict[str, Path] = {}
    for patient in sorted(each for each in folder.glob(f"{kind}*") if each.is_dir()):
        number = patient.name.removeprefix(kind)
        if not options.any_images and number not in TNBC_PATIENTS[options.split]:
            continue
        for stem, path in find(patient).items():
            if stem in files:
                raise InputError(path, f"same name as {files[stem]}; rename one of them")
            files[stem] = path
    if not files:
        raise InputError(
            folder,
            f"no folder {kind}NN of the {options.split} split; give the folder that holds them",
        )
    return files


def label_maps_from_masks(masks: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Give each connected region of equal value (8 neighbours) an id; stem -> label map."""
    label_maps: dict[str, Path] = {}
    for stem, mask in masks.items():
        label_maps[stem] = folder / f"{stem}.png"
        regions = measure.label(read_label_map(mask), connectivity=2)
        write_label_map(regions, label_maps[stem], mask)
    return label_maps


def main() -> None:
    """Place images and labels, write the JSON, and say what it holds."""
    options = parse_arguments()
    published = any(options.images.glob(f"{IMAGES}*"))
    if published:
        images = published_files(options, options.images, IMAGES, find_images)
    else:
        images = find_images(options.images)
    check_images_of_split("tnbc", options, images)
    if published:
        folder = options.labels or options.images
        masks = published_files(options, folder, MASKS, find_label_maps)
        labels = label_maps_from_masks(masks, label_folder("tnbc", options))
    elif options.labels is None:
        raise InputError(
            options.images,
            f"has no folders {IMAGES}NN; give the label maps of its images with --labels",
        )
    else:
        labels = find_label_maps(options.labels)
    sys.stdout.write(prepare_split("tnbc", options, images, labels))


if __name__ == "__main__":
    run_command(main)
