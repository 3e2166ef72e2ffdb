"""Put one split of CPM17 where cpm17_train and cpm17_test are looked up.

From the published form, PNG images and MATLAB labels (``inst_map``), paired by name:

    python datasets/prepare_cpm17.py --split train --images cpm17/train/Images \\
        --labels cpm17/train/Labels

Writes below --output: cpm17/annotations/cpm17_SPLIT.json and cpm17/SPLIT/images (links to the
images, copies where links are not possible).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from selfsam_d2.data.images import find_images
from selfsam_d2.data.prepare_split import add_split_options, check_images_of_split, prepare_split
from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.errors import run_command
from selfsam_d2.structures.label_maps import find_label_maps


def main() -> None:
    """Place the images, write the JSON, and say what it holds."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_split_options(parser, "cpm17")
    parser.add_argument("--labels", type=Path, required=True, help="folder of the .mat files")
    options = parser.parse_args()
    images = find_images(options.images)
    check_images_of_split("cpm17", options, images)
    sys.stdout.write(prepare_split("cpm17", options, images, find_label_maps(options.labels)))


if __name__ == "__main__":
    run_command(main)
