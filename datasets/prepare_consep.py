"""Put one split of CoNSeP where consep_train and consep_test are looked up.

From the published form, PNG images and MATLAB labels (``inst_map``), paired by name:

    python datasets/prepare_consep.py --split train --images CoNSeP/Train/Images \\
        --labels CoNSeP/Train/Labels

Some of the images have a fourth channel, which is dropped when they are read. The types of the
nuclei (``type_map``) are not used.

Writes below --output: consep/annotations/consep_SPLIT.json and consep/SPLIT/images (links to the
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
    add_split_options(parser, "consep")
    parser.add_argument("--labels", type=Path, required=True, help="folder of the .mat files")
    options = parser.parse_args()
    images = find_images(options.images)
    check_images_of_split("consep", options, images)
    sys.stdout.write(prepare_split("consep", options, images, find_label_maps(options.labels)))


if __name__ == "__main__":
    run_command(main)
