#!/usr/bin/env python
"""Find the nuclei of images and write them for QuPath, for statistics and to look at.

    python tools/predict.py --weights output/monuseg_vitt/model_final.pth \
        --input images --output nuclei

--input takes files (PNG, JPEG, TIFF; 8-bit RGB), folders (their images without those of
sub-folders) and quoted patterns ('scans/**/*.png'). For an image NAME.png, --output gets

    geojson   NAME.geojson       contours with measurements; drag it onto the image in QuPath
    labels    NAME_labels.png    number of the nucleus at each pixel, 16 bits; above 65,535 nuclei
                                 NAME_labels.ome.tif, 32 bits
    overlay   NAME_overlay.png   the image with contours
    coco      NAME.coco.json     run-length masks, boxes and scores
    csv       NAME.csv           a row per nucleus: score, size, shape, stain, place
    parquet   NAME.parquet       the same; needs pyarrow

Two images of one NAME are refused. A file that is there is not written again, so a run that was
stopped goes on when it is started again; --overwrite starts anew. An image that cannot be read is
named, the rest goes on, and the exit status is 2. KEY VALUE pairs behind --output override the
config, e.g. ``--output nuclei INFERENCE.SYMMETRIES 8``.
"""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path

from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.errors import InputError, run_command
from selfsam_d2.outputs.geojson import CLASS_NAME
from selfsam_d2.outputs.writers import FORMATS
from selfsam_d2.prediction.predictor import NucleiPredictor
from selfsam_d2.prediction.run import Outputs, plan, predict_images
from selfsam_d2.prediction.sources import find_sources

DEFAULT_FORMATS = ("geojson", "labels", "overlay", "csv")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, help="checkpoint, URL or name of weights")
    parser.add_argument(
        "--config-file", help="YAML of the model (default: that in the weights or beside them)"
    )
    parser.add_argument(
        "--input", nargs="+", required=True, metavar="PATH", help="files, folders, patterns"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the files to write")
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=list(FORMATS),
        default=list(DEFAULT_FORMATS),
        help=f"what to write (default: {' '.join(DEFAULT_FORMATS)})",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="write again what is there")
    existing.add_argument(
        "--resume", action="store_true", help="write only what is not there; this is the default"
    )
    parser.add_argument(
        "--microns-per-pixel", type=float, help="of all images; adds columns in µm and µm²"
    )
    parser.add_argument(
        "--class-name", default=CLASS_NAME, help=f"of the nuclei in QuPath (default: {CLASS_NAME})"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: that of the config)")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys of the config")
    return parser.parse_intermixed_args()


def main() -> None:
    """Find the images, check what can be checked, load the model, predict."""
    arguments = parse_arguments()
    microns = arguments.microns_per_pixel
    if microns is not None and not 0 < microns < math.inf:
        raise InputError(f"--microns-per-pixel {microns}", "a number above 0 is needed, e.g. 0.25")
    logging.captureWarnings(True)
    outputs = Outputs(
        folder=arguments.output,
        formats=tuple(arguments.formats),
        class_name=arguments.class_name,
        overwrite=arguments.overwrite,
    )
    tasks = plan(find_sources(arguments.input, microns), outputs)
    predictor = NucleiPredictor(
        arguments.weights,
        arguments.config_file,
        device=arguments.device,
        overrides=arguments.overrides,
    )
    predict_images(predictor, tasks, outputs)


if __name__ == "__main__":
    run_command(main)
