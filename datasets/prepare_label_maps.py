"""Make a COCO JSON with one point per nucleus from a folder of images and one of label maps.

    python datasets/prepare_label_maps.py --images DIR --labels DIR --output JSON

Images (PNG, TIFF, JPEG) and label maps (PNG, TIFF, .npy, any integer type, 0 = background, or
inst_map of .mat) are paired by file name without suffix.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from selfsam_d2.data.folder_pairs import pair_by_stem, prepare_coco_json
from selfsam_d2.data.images import find_images
from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.errors import run_command
from selfsam_d2.structures.centre import CENTRE_RULES
from selfsam_d2.structures.label_maps import find_label_maps


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of the images")
    parser.add_argument("--labels", type=Path, required=True, help="folder of the label maps")
    parser.add_argument("--output", type=Path, required=True, help="COCO JSON to write")
    parser.add_argument("--points-only", action="store_true", help="leave the masks out")
    parser.add_argument(
        "--centre", choices=CENTRE_RULES, default="centroid", help="where the point is"
    )
    return parser.parse_args()


def main() -> None:
    """Pair, convert, and say how to use the result."""
    arguments = parse_arguments()
    pairs = pair_by_stem(
        find_images(arguments.images), find_label_maps(arguments.labels), "label map"
    )
    prepared = prepare_coco_json(
        pairs,
        arguments.output,
        arguments.images,
        points_only=arguments.points_only,
        centre=arguments.centre,
    )
    option = prepared.register_option(arguments.output.stem)
    sys.stdout.write(f"{prepared.summary()}\nuse it with: {option}\n")


if __name__ == "__main__":
    run_command(main)
