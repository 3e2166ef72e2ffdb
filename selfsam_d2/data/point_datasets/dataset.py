"""Write checked points as the COCO JSON of this package, and cut tiles of large images.

What of an image or tile was not annotated becomes a crowd region (``iscrowd`` 1): training ignores
its pixels, so that nuclei without a point are not taken for background.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from PIL import Image
from pycocotools import mask as mask_util

from selfsam_d2.data.coco_json import CATEGORY, write_coco_json
from selfsam_d2.data.point_datasets.annotated_area import area_mask
from selfsam_d2.data.point_datasets.output_file import INFO
from selfsam_d2.data.point_datasets.point_checks import CheckedImage, CheckedPoints
from selfsam_d2.data.point_datasets.regions import (
    NO_SLIDES,
    ReadRegion,
    SlideFormats,
    opened_regions,
)
from selfsam_d2.data.point_datasets.summary import problems, resolution_text
from selfsam_d2.data.point_datasets.tiles import Tile, plan_tiles
from selfsam_d2.errors import InputError

__all__ = ["WrittenPoints", "write_point_dataset"]

MICRONS = "microns_per_pixel"  # key of an image in the JSON


@dataclass
class WrittenPoints:
    """What was written.

    Attributes:
        json_file: the COCO JSON.
        image_root: its file names are relative to it.
        images: in the JSON.
        points: in the JSON.
        microns_per_pixel: of each image in the JSON, um; None: unknown.
        tiles: name of an image -> number of its tiles, where it was cut.
    """

    json_file: Path
    image_root: Path
    images: int = 0
    points: int = 0
    microns_per_pixel: list[float | None] = field(default_factory=list)
    tiles: dict[str, int] = field(default_factory=dict)

    def summary(self) -> str:
        """Two lines: counts and resolution, and how the dataset is used, for a shell."""
        resolution = resolution_text(self.microns_per_pixel)
        typed = (self.json_file.stem, str(self.json_file), str(self.image_root))
        return (
            f"{self.json_file}: {self.images} images, {self.points} points{resolution}\n"
            f"use it with: --register {' '.join(map(shlex.quote, typed))}\n"
        )


def write_point_dataset(
    checked: CheckedPoints,
    output: Path,
    *,
    tile: int,
    tiles_to: Path | None = None,
    formats: SlideFormats = NO_SLIDES,
) -> WrittenPoints:
    """Write the JSON; if an image is larger than a tile, or a slide, also a folder of images.

    The folder then holds the tiles, and copies of the images that are not cut. It appears when all
    of it is written, and the JSON after it.

    Args:
        checked: images and points; images without points are left out.
        output: the JSON; its folder is made.
        tile: longest side of a tile, px; images up to this size are not cut, unless slides.
        tiles_to: the folder to make; None: beside ``output``, called ``<stem>_tiles``.
        formats: what opens slides; only the tiles are read of them.

    Raises:
        InputError: there is no point, the folder is there already, an image is damaged, or a file
            cannot be written.
    """
    images = [image for image in checked.images if len(image.points)]
    if not images:
        raise InputError(
            checked.image_root, f"no point that can be used: {'; '.join(problems(checked))}"
        )
    builder = _CocoBuilder(sorted({name for image in images for name in image.classes}))
    written = WrittenPoints(output, checked.image_root)
    if any(_is_cut(image, tile) for image in images):
        written.image_root = tiles_to or output.with_name(f"{output.stem}_tiles")
        written.tiles = _fill_folder(written.image_root, images, tile, formats, builder)
    else:
        for image in images:
            builder.add_image(image)
    try:
        write_coco_json(output, builder.coco)
    except InputError:
        if written.tiles:
            shutil.rmtree(written.image_root)
        raise
    written.images = len(builder.coco["images"])
    written.points = builder.points
    written.microns_per_pixel = [each.get(MICRONS) for each in builder.coco["images"]]
    return written


def _is_cut(image: CheckedImage, tile: int) -> bool:
    return image.is_slide or max(image.size) > tile


def _fill_folder(
    target: Path,
    images: list[CheckedImage],
    tile: int,
    formats: SlideFormats,
    builder: _CocoBuilder,
) -> dict[str, int]:
    """Make a folder of tiles, and of copies of the images that are not cut.

    Returns:
        name of an image -> number of its tiles, of those that were cut.
    """
    tiles = {}
    with _new_folder(target) as folder:
        for image in images:
            if _is_cut(image, tile):
                with opened_regions(image.path, formats) as read_region:
                    count = _write_tiles(image, read_region, folder, tile, builder)
                tiles[image.path.name] = count
            else:
                _copy(image.path, folder)
                builder.add_image(image)
    return tiles


class _CocoBuilder:
    """Collects the COCO object; ids count from 1."""

    def __init__(self, classes: list[str]) -> None:
        self.category_ids = {name: number for number, name in enumerate(classes, start=1)}
        self.points = 0
        self.coco: dict[str, Any] = {
            "info": INFO,
            "images": [],
            "categories": [
                {"id": number, "name": name or CATEGORY["name"]}
                for name, number in self.category_ids.items()
            ],
            "annotations": [],
        }

    def add_image(self, image: CheckedImage) -> None:
        """Add an image that is not cut."""
        annotated = None if image.area is None else area_mask(image.area, (0, 0), image.size)
        known = _resolution(image)
        self.add(image.path.name, image.size, image.points, image.classes, annotated, **known)

    def add(
        self,
        file_name: str,
        size: tuple[int, int],
        points: npt.NDArray[np.float64],
        classes: list[str],
        annotated: npt.NDArray[np.bool_] | None,
        **more: Any,
    ) -> None:
        """Add an image of ``size`` with its points; ``annotated``: size, None is everything.

        ``more``: further keys of the image.
        """
        image_id = len(self.coco["images"]) + 1
        entry = {"id": image_id, "file_name": file_name, "height": size[0], "width": size[1]}
        self.coco["images"].append({**entry, **more})
        self.points += len(points)
        for point, name in zip(points.tolist(), classes, strict=True):
            self._annotate(image_id, self.category_ids[name], point=point)
        if annotated is not None and not annotated.all():
            rle = mask_util.encode(np.asfortranarray(~annotated, dtype=np.uint8))
            box, area = mask_util.toBbox(rle).tolist(), int(mask_util.area(rle))
            text = {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
            first = next(iter(self.category_ids.values()))
            self._annotate(image_id, first, segmentation=text, bbox=box, area=area, iscrowd=1)

    def _annotate(self, image_id: int, category_id: int, **content: Any) -> None:
        annotation_id = len(self.coco["annotations"]) + 1
        self.coco["annotations"].append(
            {"id": annotation_id, "image_id": image_id, "category_id": category_id, **content}
        )


def _resolution(image: CheckedImage) -> dict[str, float]:
    microns = image.microns_per_pixel
    return {} if microns is None else {MICRONS: microns}


def _write_tiles(
    image: CheckedImage, read_region: ReadRegion, folder: Path, tile: int, builder: _CocoBuilder
) -> int:
    """Cut the tiles of one image into ``folder``; how many."""
    height, width = image.size
    area = shapely.box(0, 0, width, height) if image.area is None else image.area
    plan: list[Tile] = plan_tiles(
        area, image.points, image.size, tile, keep_empty=image.has_regions
    )
    for number, each in enumerate(plan, start=1):
        x0, y0, x1, y1 = each.box
        target = folder / f"{image.path.stem}_tile{number:04d}.png"
        _check_free(target, image.path)
        Image.fromarray(read_region(x0, y0, x1 - x0, y1 - y0)).save(target, format="PNG")
        size = (y1 - y0, x1 - x0)
        # Rounding of overlays must not put a point on the border outside.
        limit = np.nextafter((x1 - x0, y1 - y0), 0)
        builder.add(
            target.name,
            size,
            np.clip(image.points[each.points] - (x0, y0), 0, limit),
            [image.classes[index] for index in each.points],
            area_mask(each.area, (x0, y0), size),
            **_resolution(image),
            source_file=image.path.name,
            source_offset=[x0, y0],
        )
    return len(plan)


def _copy(image: Path, folder: Path) -> None:
    _check_free(folder / image.name, image)
    shutil.copyfile(image, folder / image.name)


def _check_free(target: Path, image: Path) -> None:
    if target.exists():
        raise InputError(image, f"has the name of a tile ({target.name}); rename the image")


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``target`` if nothing goes wrong."""
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(target, "is there already; remove it or give another folder by --tiles-to")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
            unfinished = Path(folder) / target.name
            unfinished.mkdir()
            yield unfinished
            if target.exists():
                target.rmdir()
            os.replace(unfinished, target)
    except OSError as error:
        raise InputError(target, f"cannot be written ({error.strerror})") from error
