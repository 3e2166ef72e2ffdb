"""Which points belong to which image, by the names of files and the names in files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from selfsam_d2.data.images import IMAGE_SUFFIXES, find_images
from selfsam_d2.data.point_datasets.output_file import check_output, is_earlier_output
from selfsam_d2.data.point_datasets.regions import NO_SLIDES, SlideFormats, SlideHeader
from selfsam_d2.data.point_files.formats import AUTO, POINT_SUFFIXES, read_point_file
from selfsam_d2.data.point_files.point_set import PointSet, ReadOptions
from selfsam_d2.errors import InputError
from selfsam_d2.structures.image_files import files_by_stem, require_file

__all__ = ["ImagePairs", "pair_images_and_points"]

# um; shows which images a file names before it is known which of them are slides.
ANY_RESOLUTION = 1.0


@dataclass
class ImagePairs:
    """Images and what the point files say about them.

    Attributes:
        image_root: folder of the images.
        images: stem -> image; slides only where they have points.
        points: stem -> its points, for every image; empty where no file has any.
        without_image: files, or images named in files, that no image belongs to.
        slides: stem -> header, of the images that are slides.
    """

    image_root: Path
    images: dict[str, Path]
    points: dict[str, PointSet]
    without_image: list[str] = field(default_factory=list)
    slides: dict[str, SlideHeader] = field(default_factory=dict)


def pair_images_and_points(
    images: Path,
    points: Path,
    options: ReadOptions,
    file_format: str = AUTO,
    output: Path | None = None,
    formats: SlideFormats = NO_SLIDES,
) -> ImagePairs:
    """Read the point files and find the image of each.

    A file that names its images (CSV with such a column, COCO) is paired by these names, any other
    by its own: ``a.geojson`` and ``a.png.geojson`` belong to ``a.png``. One image and one file that
    names none belong together whatever they are called. Slides count where they have points, and
    their resolution is that of points in um.

    Args:
        images: an image, or a folder of them.
        points: a file of points, or a folder of them.
        options: unit, resolution, class of annotated regions.
        file_format: one of :data:`~selfsam_d2.data.point_files.formats.FORMATS`.
        output: what is written later; in the folder of points an earlier one is no point file.
        formats: what opens slides.

    Raises:
        InputError: a path is missing, a slide cannot be opened, a point file cannot be used, or
            ``output`` would replace a file that is not its own.
    """
    found, slides = _images(images, formats)
    paths = slides | found
    files = _point_files(points, output)
    if output is not None:
        check_output(output, paths.values(), files)
    root = images if images.is_dir() else images.parent
    pairs = ImagePairs(root, dict(found), {stem: PointSet() for stem in found})
    single = next(iter(paths)) if not (images.is_dir() or points.is_dir()) else None
    candidates = _Candidates(paths, single, formats)
    for file in files:
        for name, point_set in _read(file, options, file_format, candidates).items():
            stem = candidates.stem(file, name)
            if stem is None:
                pairs.without_image.append(str(file) if name is None else f"{name} in {file}")
                continue
            pairs.images.setdefault(stem, paths[stem])
            pairs.points.setdefault(stem, PointSet()).extend(point_set)
            header = candidates.header(stem)
            if header is not None:
                pairs.slides[stem] = header
    return pairs


@dataclass
class _Candidates:
    """What points can belong to.

    Attributes:
        paths: stem -> image or slide.
        single: the stem of the only one, where also the points are one file.
        formats: what opens slides.
        headers: of those that were opened; None: no slide.
    """

    paths: dict[str, Path]
    single: str | None
    formats: SlideFormats
    headers: dict[str, SlideHeader | None] = field(default_factory=dict)

    def stem(self, file: Path, name: str | None) -> str | None:
        """Whose points stand in ``file`` under ``name``; None: nobody's."""
        if name is None:
            return self.single or _match(file.stem, self.paths)
        return _match(re.split(r"[\\/]", name)[-1], self.paths)

    def header(self, stem: str) -> SlideHeader | None:
        """Only what has points is opened: other slides may need a library that is not there."""
        if stem not in self.headers:
            self.headers[stem] = self.formats.header(self.paths[stem])
        return self.headers[stem]

    def resolution(self, file: Path, name: str | None) -> float | None:
        """That of the slide whose points these are, um; None: unknown."""
        stem = self.stem(file, name)
        if stem is None:
            return ANY_RESOLUTION
        header = self.header(stem)
        return None if header is None else header.microns_per_pixel


def _read(
    file: Path, options: ReadOptions, file_format: str, candidates: _Candidates
) -> dict[str | None, PointSet]:
    """Name of an image -> its points, in px by the resolution of that image if it is a slide."""

    @cache
    def read(resolution: float | None) -> dict[str | None, PointSet]:
        of_slide = replace(options, slide_microns_per_pixel=resolution)
        return read_point_file(file, of_slide, file_format)

    # Most files name no image; those that do are read again with the resolution of each.
    names = read(candidates.resolution(file, None))
    return {name: read(candidates.resolution(file, name))[name] for name in names}


def _point_files(points: Path, output: Path | None) -> list[Path]:
    if not points.is_dir():
        return [points]
    files = list(files_by_stem(points, POINT_SUFFIXES, "point file").values())
    if output is None or not is_earlier_output(output):
        return files
    return [file for file in files if not file.samefile(output)]


def _images(path: Path, formats: SlideFormats) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and whole slides by stem."""
    if not path.is_dir():
        require_file(path)
        return {path.stem: path}, {}
    slides = {
        each.stem: each
        for each in sorted(path.iterdir())
        if each.suffix.lower() in formats.suffixes and not each.name.startswith(".")
    }
    try:
        return find_images(path), slides
    except InputError:
        if slides and not any(each.suffix.lower() in IMAGE_SUFFIXES for each in path.iterdir()):
            return {}, slides
        raise


def _match(name: str, images: dict[str, Path]) -> str | None:
    """The stem of an image that is called ``name``, with or without the suffix of its file."""
    if name in images:
        return name
    path = Path(name)
    suffixes = IMAGE_SUFFIXES | {each.suffix.lower() for each in images.values()}
    return path.stem if path.suffix.lower() in suffixes and path.stem in images else None
