"""Make a COCO JSON from points that were set by hand.

    python datasets/prepare_points.py --images DIR --points DIR --output train.json

Points: GeoJSON of QuPath, CSV (x, y[, class][, image]), COCO JSON with keypoints, napari's CSV,
JSON of LabelMe. A file belongs to the image of its own name, unless it names images itself.

Every nucleus of an annotated area must have its point, as what has none is learnt as background:
- outlines without a class or of QuPath's class Region* (or --region-class) mark annotated areas;
  what lies outside of them is ignored in training, points there are dropped;
- without such outlines an image of at most --tile pixels counts as annotated as a whole, of a
  larger one only the neighbourhood of its points;
- images larger than --tile, and slides, are cut into tiles around these areas, written to
  --tiles-to.

What is known of the resolution goes into the JSON: --microns-per-pixel (with --unit), or what a
slide or TIFF states. A training takes it over.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from selfsam_d2.data.images import image_size
from selfsam_d2.data.point_datasets.dataset import write_point_dataset
from selfsam_d2.data.point_datasets.pairs import pair_images_and_points
from selfsam_d2.data.point_datasets.point_checks import check_images_and_points
from selfsam_d2.data.point_datasets.regions import SlideFormats
from selfsam_d2.data.point_datasets.summary import problems, summary_table
from selfsam_d2.data.point_files.formats import AUTO, FORMATS
from selfsam_d2.data.point_files.point_set import UNITS, ReadOptions
from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.errors import InputError, run_command
from selfsam_d2.slides.backends import open_slide
from selfsam_d2.slides.microns import tiff_microns_per_pixel
from selfsam_d2.slides.reader import SLIDE_SUFFIXES, TIFF_SUFFIXES, Slide, is_slide

TILE = 1024
SMALLEST_TILE = 224  # a training crop


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="an image, or a folder of them")
    parser.add_argument("--points", type=Path, required=True, help="a point file, or a folder")
    parser.add_argument("--output", type=Path, required=True, help="COCO JSON to write")
    parser.add_argument("--format", choices=FORMATS, default=AUTO, help="default: by the content")
    parser.add_argument("--unit", choices=UNITS, help="of the points (default: px, or the file's)")
    parser.add_argument(
        "--microns-per-pixel", type=float, help="of the images (default: what slides and TIFFs say)"
    )
    parser.add_argument(
        "--tile", type=int, default=TILE, help=f"cut larger images into tiles (default {TILE} px)"
    )
    parser.add_argument(
        "--tiles-to", type=Path, help="new folder for tiles (default: beside the JSON)"
    )
    parser.add_argument("--classes", nargs="+", default=[], help="take points of these only")
    parser.add_argument("--region-class", help="class of the outlines of annotated areas")
    parser.add_argument(
        "--margin",
        type=float,
        help="px by which an annotated area reaches beyond its outline (default 0), or beyond the "
        "outer points (default 0.75 x their spacing)",
    )
    parser.add_argument("--strict", action="store_true", help="write nothing if a check fails")
    arguments = parser.parse_args()
    if arguments.tile < SMALLEST_TILE:
        raise InputError("--tile", f"must be at least {SMALLEST_TILE} px, found {arguments.tile}")
    if arguments.margin is not None and not 0 <= arguments.margin < math.inf:
        raise InputError("--margin", f"must be 0 px or more, found {arguments.margin}")
    return arguments


def open_if_slide(path: Path) -> Slide | None:
    """A slide, or a TIFF too large to be read at once; None: an image.

    Raises:
        InputError: a slide that cannot be opened.
    """
    suffix = path.suffix.lower()
    if suffix not in SLIDE_SUFFIXES and not (suffix in TIFF_SUFFIXES and is_slide(path)):
        return None
    try:
        return open_slide(path)
    except InputError:
        # A tiled TIFF without the extra `slides`: read whole if it can be.
        if suffix in TIFF_SUFFIXES and is_readable(path):
            return None
        raise


def is_readable(path: Path) -> bool:
    """Whether an image is not too large, nor of another kind than is read."""
    try:
        image_size(path)
    except InputError:
        return False
    return True


def main() -> None:
    """Read, check, write, and say what was found."""
    arguments = parse_arguments()
    options = ReadOptions(arguments.unit, arguments.microns_per_pixel, arguments.region_class)
    slides = SlideFormats(SLIDE_SUFFIXES, open_if_slide, tiff_microns_per_pixel)
    pairs = pair_images_and_points(
        arguments.images,
        arguments.points,
        options,
        arguments.format,
        arguments.output,
        formats=slides,
    )
    checked = check_images_and_points(
        pairs,
        whole_up_to=arguments.tile,
        classes=arguments.classes,
        margin=arguments.margin,
    )
    found = problems(checked)
    if arguments.strict and found:
        sys.stdout.write(summary_table(checked, {}))
        raise InputError("--strict", f"{'; '.join(found)}; mend these, nothing was written")
    written = write_point_dataset(
        checked,
        arguments.output,
        tile=arguments.tile,
        tiles_to=arguments.tiles_to,
        formats=slides,
    )
    sys.stdout.write(summary_table(checked, written.tiles) + written.summary())


if __name__ == "__main__":
    run_command(main)
