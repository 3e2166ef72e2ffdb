#!/usr/bin/env python
"""Find the nuclei of images and write them for QuPath, for statistics and to look at.

    python tools/predict.py --weights output/monuseg_vitt/model_final.pth \
        --input images --output nuclei

--input takes files (PNG, JPEG, TIFF, 8-bit RGB; whole slides), folders (their images without those
of sub-folders) and quoted patterns ('scans/**/*.png'). For an image NAME.png, --output gets

    geojson   NAME.geojson       contours with measurements; drag it onto the image in QuPath,
                                 which shows the number of a nucleus as its name
    labels    NAME_labels.png    number of the nucleus at each pixel, 16 bits; above 65,535 nuclei
                                 and for slides NAME_labels.ome.tif, 32 bits
    overlay   NAME_overlay.png   the image with contours; of a slide, made small to 4096 px
    coco      NAME.coco.json     run-length masks, boxes and scores; up to 65,535 x 65,537 px
    csv       NAME.csv           a row per nucleus: score, size, shape, stain, place
    parquet   NAME.parquet       the same; needs pyarrow

Slides (SVS, NDPI, SCN, OME-TIFF and large TIFF by tiffslide, MRXS, DICOM and others by OpenSlide)
are cut into tiles, of which those without tissue are left out. All outputs are in px of the full
resolution. Finished tiles are kept in a folder .NAME.tiles until the files are written, so that a
run that was stopped loses one tile. Where INPUT.NUCLEI.MICRONS_PER_PIXEL of the model is known, it
sees slides and images in its own resolution.

Two images of one NAME are refused. A file that is there is not written again, so a run that was
stopped goes on when it is started again; --overwrite starts anew, and if it was stopped the same
command without it goes on (.overwrite.json notes what is still old). An image that cannot be read
is named, the rest goes on, and the exit status is 2. KEY VALUE pairs behind --output override the
config, e.g. ``--output nuclei INFERENCE.SYMMETRIES 8``.
"""

from __future__ import annotations

import argparse
import logging
import math
from functools import partial
from pathlib import Path

from selfsam_d2.engine.arguments import OneLineParser, add_model_options
from selfsam_d2.errors import InputError, run_command
from selfsam_d2.outputs.geojson import CLASS_NAME
from selfsam_d2.outputs.writers import FORMATS
from selfsam_d2.prediction.options import Outputs, Tiling
from selfsam_d2.prediction.predictor import NucleiPredictor
from selfsam_d2.prediction.processes import predict_in_processes
from selfsam_d2.prediction.ray_workers import predict_on_ray
from selfsam_d2.prediction.run import plan
from selfsam_d2.prediction.sources import find_sources

DEFAULT_FORMATS = ("geojson", "labels", "overlay", "csv")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_options(parser)
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
        "--microns-per-pixel",
        type=float,
        help="of all images, whatever a slide says; adds columns in µm and µm²",
    )
    _add_tiling(parser)
    _add_workers(parser)
    parser.add_argument(
        "--class-name", default=CLASS_NAME, help=f"of the nuclei in QuPath (default: {CLASS_NAME})"
    )
    return parser.parse_intermixed_args()


def _add_tiling(parser: argparse.ArgumentParser) -> None:
    tiling = Tiling()
    group = parser.add_argument_group("slides")
    group.add_argument(
        "--tile", type=int, default=tiling.side, help=f"side, px (default: {tiling.side})"
    )
    group.add_argument(
        "--tile-margin",
        type=int,
        default=tiling.margin,
        help="px that tiles see around them; a nucleus larger than that may be cut (default: "
        f"{tiling.margin})",
    )
    group.add_argument(
        "--no-tissue-mask", action="store_true", help="predict tiles without tissue, too"
    )


def _add_workers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("several workers")
    group.add_argument(
        "--num-gpus",
        "--num-processes",
        dest="processes",
        type=int,
        metavar="N",
        help="processes on this machine, a GPU each where there are GPUs (default: 1); with --ray "
        "workers at most (default: all GPUs or CPUs)",
    )
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="a task per image or slide on this Ray cluster; 'local' starts one here",
    )


def main() -> None:
    """Find the images, check what can be checked, load the model, predict."""
    arguments = parse_arguments()
    microns, processes = arguments.microns_per_pixel, arguments.processes
    if microns is not None and not 0 < microns < math.inf:
        raise InputError(f"--microns-per-pixel {microns}", "a number above 0 is needed, e.g. 0.25")
    if processes is not None and processes < 1:
        raise InputError(f"--num-gpus {processes}", "at least 1 is needed")
    logging.captureWarnings(True)
    outputs = Outputs(
        folder=arguments.output,
        formats=tuple(arguments.formats),
        class_name=arguments.class_name,
        overwrite=arguments.overwrite,
        tiling=Tiling(arguments.tile, arguments.tile_margin, not arguments.no_tissue_mask),
    )
    tasks = plan(find_sources(arguments.input, microns), outputs)
    # Workers may have another folder of work.
    weights, config_file = (
        str(Path(given).absolute()) if given and Path(given).exists() else given
        for given in (arguments.weights, arguments.config_file)
    )
    build = partial(NucleiPredictor, weights, config_file, overrides=arguments.overrides)
    if arguments.ray is None:
        predict_in_processes(processes or 1, build, arguments.device, tasks, outputs)
    else:
        build = partial(build, device=arguments.device)
        predict_on_ray(arguments.ray, processes, build, tasks, outputs)


if __name__ == "__main__":
    run_command(main)
