"""Which points belong to which image, by the names of files and the names in files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from selfsam_d2.data.images import IMAGE_SUFFIXES, find_images
from selfsam_d2.data.point_datasets.output_file import check_output, is_earlier_output
from selfsam_d2.data.point_files.formats import AUTO, POINT_SUFFIXES, read_point_file
from selfsam_d2.data.point_files.point_set import PointSet, ReadOptions
from selfsam_d2.errors import InputError
from selfsam_d2.structures.image_files import files_by_stem, require_file

__all__ = ["ImagePairs", "pair_images_and_points"]

SLIDE_SUFFIXES = frozenset(
    {".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".czi", ".dcm", ".qptiff"}
)


@dataclass
class ImagePairs:
    """Images and what the point files say about them.

    Attributes:
        image_root: folder of the images.
        images: stem -> image.
        points: stem -> its points, for every image; empty where no file has any.
        without_image: files, or images named in files, that no image belongs to.
    """

    image_root: Path
    images: dict[str, Path]
    points: dict[str, PointSet]
    without_image: list[str] = field(default_factory=list)


def pair_images_and_points(
    images: Path,
    points: Path,
    options: ReadOptions,
    file_format: str = AUTO,
    output: Path | None = None,
) -> ImagePairs:
    """Read the point files and find the image of each.

    A file that names its images (CSV with such a column, COCO) is paired by these names, any other
    by its own: ``a.geojson`` and ``a.png.geojson`` belong to ``a.png``. One image and one file that
    names none belong together whatever they are called.

    Args:
        images: an image, or a folder of them.
        points: a file of points, or a folder of them.
        options: unit, resolution, class of annotated regions.
        file_format: one of :data:`~selfsam_d2.data.point_files.formats.FORMATS`.
        output: what is written later; in the folder of points an earlier one is no point file.

    Raises:
        InputError: a path is missing, an image is a whole slide, a point file cannot be used, or
            ``output`` would replace a file that is not its own.
    """
    found, slides = _images(images)
    files = _point_files(points, output)
    if output is not None:
        check_output(output, found.values(), files)
    root = images if images.is_dir() else images.parent
    pairs = ImagePairs(root, found, {stem: PointSet() for stem in found})
    single = next(iter(found)) if not (images.is_dir() or points.is_dir()) else None
    for file in files:
        for name, point_set in read_point_file(file, options, file_format).items():
            own = file.stem if name is None else re.split(r"[\\/]", name)[-1]
            stem = single if name is None and single is not None else _match(own, found)
            if stem is not None:
                pairs.points[stem].extend(point_set)
            elif (slide := _match(own, slides)) is not None:
                raise _slide_error(slides[slide])
            else:
                pairs.without_image.append(str(file) if name is None else f"{name} in {file}")
    return pairs


def _point_files(points: Path, output: Path | None) -> list[Path]:
    if not points.is_dir():
        return [points]
    files = list(files_by_stem(points, POINT_SUFFIXES, "point file").values())
    if output is None or not is_earlier_output(output):
        return files
    return [file for file in files if not file.samefile(output)]


def _images(path: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and whole slides by stem."""
    if not path.is_dir():
        require_file(path)
        if path.suffix.lower() in SLIDE_SUFFIXES:
            raise _slide_error(path)
        return {path.stem: path}, {}
    slides = {
        each.stem: each for each in sorted(path.iterdir()) if each.suffix.lower() in SLIDE_SUFFIXES
    }
    try:
        return find_images(path), slides
    except InputError:
        if slides:
            raise _slide_error(next(iter(slides.values()))) from None
        raise


def _slide_error(path: Path) -> InputError:
    return InputError(
        path,
        "is a whole slide, which is not cut here; export its annotated regions as PNG or TIFF and "
        "set the points there",
    )


def _match(name: str, images: dict[str, Path]) -> str | None:
    """The stem of an image that is called ``name``, with or without the suffix of an image."""
    if name in images:
        return name
    path = Path(name)
    has_suffix = path.suffix.lower() in IMAGE_SUFFIXES | SLIDE_SUFFIXES
    return path.stem if has_suffix and path.stem in images else None
