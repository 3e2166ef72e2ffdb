#!/usr/bin/env python
"""Score a baseline that learns nothing: Otsu's threshold of the haematoxylin, then a watershed.

    python tools/evaluate_otsu.py --images val/images --labels val/labels

A label map (PNG, TIFF, npy or .mat) belongs to the image of its name. The table goes to stdout.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from selfsam_d2.data.images import find_images, read_image
from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.errors import InputError, run_command
from selfsam_d2.evaluation.metrics import nuclei_metrics
from selfsam_d2.evaluation.otsu import otsu_watershed
from selfsam_d2.evaluation.summary import format_table, summarise
from selfsam_d2.structures.label_maps import find_label_maps, read_label_map


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--labels", type=Path, required=True, help="folder of true label maps")
    return parser.parse_args()


def main() -> None:
    """Find nuclei, score, print the table."""
    arguments = parse_arguments()
    labels = find_label_maps(arguments.labels)
    scores = {}
    for stem, path in find_images(arguments.images).items():
        if stem not in labels:
            raise InputError(path, f"has no label map of its name in {arguments.labels}")
        image, true = read_image(path), read_label_map(labels[stem])
        if image.shape[:2] != true.shape:
            raise InputError(labels[stem], f"is of another size than {path}")
        scores[stem] = nuclei_metrics(true, otsu_watershed(image))
    sys.stdout.write(format_table(summarise(scores)) + "\n")


if __name__ == "__main__":
    run_command(main)
