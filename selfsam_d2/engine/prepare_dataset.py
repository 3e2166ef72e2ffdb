"""What the scripts of datasets with a folder of label files do."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from selfsam_d2.data.images import find_images
from selfsam_d2.data.prepare_split import add_split_options, check_images_of_split, prepare_split
from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.structures.label_maps import find_label_maps

__all__ = ["prepare_from_label_folder"]


def prepare_from_label_folder(dataset: str, description: str | None) -> None:
    """Place the images of a split, write its JSON, and say what it holds.

    Args:
        dataset: built-in dataset, of :data:`selfsam_d2.data.registration.BUILTIN_SPLITS`.
        description: for ``--help``.

    Raises:
        InputError: an option, an image or a label file cannot be used.
    """
    parser = OneLineParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_split_options(parser, dataset)
    parser.add_argument("--labels", type=Path, required=True, help="folder of the .mat files")
    options = parser.parse_args()
    images = find_images(options.images)
    check_images_of_split(dataset, options, images)
    sys.stdout.write(prepare_split(dataset, options, images, find_label_maps(options.labels)))
