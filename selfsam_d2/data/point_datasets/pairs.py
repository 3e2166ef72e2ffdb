"""Which points belong to which image, by the names of files and the names in files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from selfsam_d2.data.images import IMAGE_SUFFIXES
from selfsam_d2.data.point_datasets.output_file import check_output, is_earlier_output
from selfsam_d2.data.point_datasets.regions import NO_SLIDES, SlideFormats, SlideHeader
from selfsam_d2.data.point_files.formats import AUTO, POINT_SUFFIXES, read_point_file
from selfsam_d2.data.point_files.point_set import PointSet, ReadOptions
from selfsam_d2.errors import shortened
from selfsam_d2.structures.image_files import files_by_stem, require_file

__all__ = ["ImagePairs", "StrayPoints", "pair_images_and_points"]

# um; shows which images a file names before it is known what these state.
ANY_RESOLUTION = 1.0


@dataclass(frozen=True)
class StrayPoints:
    """Points that no image belongs to.

    Attributes:
        file: their file.
        image: the image that is named in it; None: it names none.
    """

    file: Path
    image: str | None = None

    def __str__(self) -> str:
        named = "" if self.image is None else f"{shortened(self.image)} in "
        return f"{named}{self.file.name}"


@dataclass
class ImagePairs:
    """Images and what the point files say about them.

    Attributes:
        image_root: folder of the images.
        images: stem -> image or slide, without points too; not the further files of a slide.
        points: stem -> its points, for every image; empty where no file has any.
        without_image: points that no image belongs to.
        slides: stem -> header, of the images with points that are slides.
        microns_per_pixel: stem -> um, of the images with points whose resolution is known.
    """

    image_root: Path
    images: dict[str, Path]
    points: dict[str, PointSet]
    without_image: list[StrayPoints] = field(default_factory=list)
    slides: dict[str, SlideHeader] = field(default_factory=dict)
    microns_per_pixel: dict[str, float] = field(default_factory=dict)


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
    names none belong together whatever they are called. Only what has points is opened. The
    resolution that a slide or image states is that of its points in um.

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
    paths = _images(images, formats)
    files = _point_files(points, output)
    if output is not None:
        check_output(output, paths.values(), files)
    root = images if images.is_dir() else images.parent
    pairs = ImagePairs(root, {}, {})
    single = next(iter(paths)) if not (images.is_dir() or points.is_dir()) else None
    candidates = _Candidates(paths, single, formats)
    for file in files:
        for name, point_set in _read(file, options, file_format, candidates).items():
            stem = candidates.stem(file, name)
            if stem is None:
                pairs.without_image.append(StrayPoints(file, name))
            else:
                pairs.points.setdefault(stem, PointSet()).extend(point_set)
    _add_headers(pairs, candidates, options.microns_per_pixel)
    parts = {paths[stem].suffix.lower() for stem, each in pairs.slides.items() if each.has_parts}
    for stem, path in paths.items():
        if stem in pairs.points or path.suffix.lower() not in parts:
            pairs.images[stem] = path
            pairs.points.setdefault(stem, PointSet())
    return pairs


def _add_headers(pairs: ImagePairs, candidates: _Candidates, given: float | None) -> None:
    """What is known of the images that have points; ``given``: resolution of all of them, um."""
    for stem in pairs.points:
        header = candidates.header(stem)
        if header is not None:
            pairs.slides[stem] = header
        microns = given or candidates.microns(stem)
        if microns is not None:
            pairs.microns_per_pixel[stem] = microns


@dataclass
class _Candidates:
    """What points can belong to.

    Attributes:
        paths: stem -> image or slide.
        single: the stem of the only one, where also the points are one file.
        formats: what opens slides.
        headers: of those that were opened; None: no slide.
        stated: um per px of images, of those that were asked; None: unknown.
    """

    paths: dict[str, Path]
    single: str | None
    formats: SlideFormats
    headers: dict[str, SlideHeader | None] = field(default_factory=dict)
    stated: dict[str, float | None] = field(default_factory=dict)

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

    def microns(self, stem: str) -> float | None:
        """What a slide or an image states, um per px; None: nothing."""
        header = self.header(stem)
        if header is not None:
            return header.microns_per_pixel
        if stem not in self.stated:
            self.stated[stem] = self.formats.image_microns(self.paths[stem])
        return self.stated[stem]

    def resolution(self, file: Path, name: str | None) -> float | None:
        """That of the image whose points these are, um; None: unknown."""
        stem = self.stem(file, name)
        return ANY_RESOLUTION if stem is None else self.microns(stem)


def _read(
    file: Path, options: ReadOptions, file_format: str, candidates: _Candidates
) -> dict[str | None, PointSet]:
    """Name of an image -> its points, in px by the resolution that the image states."""

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


def _images(path: Path, formats: SlideFormats) -> dict[str, Path]:
    """Images and slides by stem."""
    if path.is_dir():
        return files_by_stem(path, IMAGE_SUFFIXES | formats.suffixes, "image")
    require_file(path)
    return {path.stem: path}


def _match(name: str, images: dict[str, Path]) -> str | None:
    """The stem of an image that is called ``name``, with or without the suffix of its file."""
    if name in images:
        return name
    path = Path(name)
    suffixes = IMAGE_SUFFIXES | {each.suffix.lower() for each in images.values()}
    return path.stem if path.suffix.lower() in suffixes and path.stem in images else None
