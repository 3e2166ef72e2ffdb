"""Put one split of MoNuSeg where monuseg_train, monuseg_val and monuseg_test are looked up.

As published (TIFF images and ImageScope XML, in two folders or in one):

    python datasets/prepare_monuseg.py --split train --images IMAGES --annotations ANNOTATIONS

or from label maps (PNG, TIFF, .npy, any integer type, or inst_map of .mat):

    python datasets/prepare_monuseg.py --split val --images IMAGES --labels LABELS

Writes below --output: monuseg/annotations/monuseg_SPLIT.json, monuseg/SPLIT/images (links to the
images, copies where links are not possible) and, from XML, monuseg/SPLIT/labels (label maps).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from selfsam_d2.data.folder_pairs import pair_by_stem
from selfsam_d2.data.images import find_images, image_size
from selfsam_d2.data.imagescope_xml import (
    find_imagescope_xml,
    rasterise_polygons,
    read_imagescope_polygons,
)
from selfsam_d2.data.prepare_split import (
    add_split_options,
    check_images_of_split,
    label_folder,
    prepare_split,
    write_label_map,
)
from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.errors import run_command
from selfsam_d2.structures.label_maps import find_label_maps


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_split_options(parser, "monuseg")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--annotations", type=Path, help="folder of the XML files (default: the image folder)"
    )
    source.add_argument("--labels", type=Path, help="folder of label maps, instead of XML")
    return parser.parse_args()


def say_losses(name: str, overlap_pixels: int, lost_outlines: int) -> None:
    """Say what the overlaps of outlines cost, in one file or in all."""
    sys.stdout.write(
        f"{name}: {overlap_pixels} pixels in several outlines (given to the first), "
        f"{lost_outlines} outlines left without a pixel\n"
    )


def label_maps_from_xml(
    images: Mapping[str, Path], annotations: Path, folder: Path
) -> dict[str, Path]:
    """Rasterise the XML file of every image into ``folder``; stem -> label map."""
    label_maps: dict[str, Path] = {}
    overlap_pixels = lost_outlines = 0
    pairs = pair_by_stem(images, find_imagescope_xml(annotations), "annotation XML")
    for stem, (image, annotation) in pairs.items():
        label_maps[stem] = folder / f"{stem}.png"
        made = rasterise_polygons(read_imagescope_polygons(annotation), image_size(image))
        write_label_map(made.label_map, label_maps[stem], annotation)
        say_losses(annotation.name, made.overlap_pixels, made.lost_outlines)
        overlap_pixels += made.overlap_pixels
        lost_outlines += made.lost_outlines
    say_losses(f"{len(pairs)} XML files", overlap_pixels, lost_outlines)
    return label_maps


def main() -> None:
    """Place images and labels, write the JSON, and say what it holds."""
    options = parse_arguments()
    images = find_images(options.images)
    check_images_of_split("monuseg", options, images)
    if options.labels is not None:
        labels = find_label_maps(options.labels)
    else:
        labels = label_maps_from_xml(
            images, options.annotations or options.images, label_folder("monuseg", options)
        )
    sys.stdout.write(prepare_split("monuseg", options, images, labels))


if __name__ == "__main__":
    run_command(main)
