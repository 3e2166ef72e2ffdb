"""What was found in a set of images and points: a table with its legend, and the problems."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from itertools import islice

from tabulate import tabulate

from selfsam_d2.data.point_datasets.pairs import StrayPoints
from selfsam_d2.data.point_datasets.point_checks import (
    DOUBLE_DISTANCE,
    NOT_MEASURED,
    CheckedImage,
    CheckedPoints,
)
from selfsam_d2.structures.resolution import is_same_resolution

__all__ = ["likely_stem", "problems", "resolution_text", "summary_table"]

NAMED_AT_MOST = 3
SIMILAR = 0.5  # of difflib: a name, and the same with a word as long as it
NO_CLASS = "(no class)"
TILES = "tiles"
POINTS = "points"
COVERED = "points cover"
COUNTS = {
    "other classes": "left_out",
    "outside image": "outside",
    "double": "doubles",
    "outside regions": "off_region",
    "outlines not used": "unused_outlines",
}
LEGEND = {
    TILES: "images that were cut out of it",
    "other classes": "points of classes that --classes does not name, left out",
    "outside image": "points beyond the border of the image, left out",
    "double": f"points less than {DOUBLE_DISTANCE:g} px from an earlier one, left out",
    "outside regions": "points outside of the outlined areas, left out",
    "outlines not used": "outlines of a class that marks no annotated area (see --region-class)",
    COVERED: "share of the image that a box around its points takes; without outlines all of an "
    "image counts as annotated, and a WARNING names those where it does not look so",
}


def summary_table(checked: CheckedPoints, tiles: dict[str, int]) -> str:
    """One row per image, their sum, what the columns mean, and warnings.

    A column that is 0 for every image is left out, but for that of points.

    Args:
        checked: images and points.
        tiles: name of an image -> number of its tiles, where it was cut.

    Returns:
        lines, each with its end.
    """
    images = checked.images
    counted = [Counter(image.classes) for image in images]
    names = sorted(set().union(*counted))
    columns = [
        (TILES, [tiles.get(image.path.name, 0) for image in images]),
        (POINTS, [len(image.points) for image in images]),
        *((each or NO_CLASS, [count[each] for count in counted]) for each in names if any(names)),
        *((title, [_count(image, key) for image in images]) for title, key in COUNTS.items()),
    ]
    shown = [(title, values) for title, values in columns if title == POINTS or any(values)]
    cells = [
        ["image", *(image.path.name for image in images), "all"],
        *([title, *values, sum(values)] for title, values in shown),
    ]
    covered = [image.covered for image in images]
    if any(each is not None for each in covered):
        cells.append([COVERED, *map(_percent, covered), ""])
    header, *rows = zip(*cells, strict=True)
    table: str = tabulate(rows, headers=header, tablefmt="github", disable_numparse=True)
    legend = [f"{title}: {LEGEND[title]}" for title in header if title in LEGEND]
    warnings = [f"WARNING: {each}" for each in _warnings(checked)]
    return "\n".join([table, *legend, *warnings]) + "\n"


def _count(image: CheckedImage, attribute: str) -> int:
    value = getattr(image, attribute)
    return value if isinstance(value, int) else len(value)


def _warnings(checked: CheckedPoints) -> list[str]:
    """A line for each kind of thing that is left out or doubtful."""
    images, lines = checked.images, []
    partly = [
        f"{image.path.name} ({len(image.points)} points in {_percent(image.covered)})"
        for image in images
        if image.one_part
    ]
    if partly:
        lines.append(
            "points in one part of an image only, all of which counts as annotated; outline what "
            f"you looked at: {', '.join(partly)}"
        )
    ignored = [f"{each.ignored} of {each.path.name}" for each in images if each.ignored]
    if ignored:
        lines.append(f"points of classes that QuPath ignores (*), left out: {', '.join(ignored)}")
    differ = _different_resolutions(images)
    if differ:
        lines.append(
            "images of different resolution, which a training refuses; rescale them, or make a "
            f"dataset of each: {differ}"
        )
    empty = [image.path.name for image in images if not len(image.points)]
    if empty:
        lines.append(f"images without points, left out: {', '.join(empty)}")
    if checked.without_image:
        free = [image.path.stem for image in images if image.size == NOT_MEASURED]
        named = ", ".join(_with_suggestion(each, free) for each in checked.without_image)
        lines.append(f"points without an image, left out: {named}")
    return lines


def _with_suggestion(stray: StrayPoints, free: Collection[str]) -> str:
    """Points without an image, and what their file may have been meant to be called."""
    stem = likely_stem(stray.file.stem, free) if stray.image is None else None
    return str(stray) if stem is None else f"{stray} (rename it to {stem}{stray.file.suffix}?)"


def likely_stem(name: str, stems: Collection[str]) -> str | None:
    """The image that a file may be meant for.

    Args:
        name: stem of the file.
        stems: of images that have no file.

    Returns:
        the longest that the name begins with, to the end of a word, or else a similar one; with
        the same numbers in any case. None: none is like it.
    """
    known, wanted = {stem.casefold(): stem for stem in stems}, name.casefold()
    alike = [each for each in known if _numbers(each) <= _numbers(wanted)]
    begun = [each for each in alike if wanted.startswith(each)]
    whole = [each for each in begun if not wanted[len(each) :][:1].isalnum()]
    found = [max(whole, key=len)] if whole else get_close_matches(wanted, alike, 1, SIMILAR)
    return known[found[0]] if found else None


def _numbers(name: str) -> Counter[int]:
    return Counter(map(int, re.findall("[0-9]+", name)))


def problems(checked: CheckedPoints) -> list[str]:
    """What ``--strict`` refuses, with counts and the first names; empty if all is well."""
    images = checked.images
    empty = [image.path.name for image in images if not len(image.points)]
    partly = [f"{each.path.name}: {_percent(each.covered)}" for each in images if each.one_part]
    differ = _different_resolutions(images)
    double = f"less than {DOUBLE_DISTANCE:g} px from another"
    found = [
        _placed("point outside its image", "points outside their image", images, "outside"),
        _placed(f"point {double}", f"points {double}", images, "doubles"),
        _placed(
            "point outside of the regions", "points outside of the regions", images, "off_region"
        ),
        _named("image", "with points in one part only, without an outline", partly),
        f"images of different resolution ({differ})" if differ else "",
        _named("image", "without points", empty),
        _named("point file", "without an image", list(map(str, checked.without_image))),
    ]
    return [problem for problem in found if problem]


def resolution_text(microns: Sequence[float | None]) -> str:
    """What the line about a dataset says of its resolution; empty where nothing is known.

    Args:
        microns: um per px of each image; None: unknown.
    """
    known = [each for each in microns if each is not None]
    if not known:
        return ""
    both = dict.fromkeys(f"{each:.3g}" for each in (min(known), max(known)))
    unknown = len(microns) - len(known)
    return f", {' to '.join(both)} µm/px{f' (unknown of {unknown})' if unknown else ''}"


def _different_resolutions(images: list[CheckedImage]) -> str:
    """Resolutions of images with points, with the first names of each; empty where they agree."""
    names: dict[str, list[str]] = {}
    known = [
        (image.microns_per_pixel, image.path.name)
        for image in images
        if len(image.points) and image.microns_per_pixel is not None
    ]
    if not known or is_same_resolution(max(known)[0], min(known)[0]):
        return ""
    for microns, name in sorted(known):
        names.setdefault(f"{microns:.3g} µm/px", []).append(name)
    return "; ".join(f"{microns}: {_first(each)}" for microns, each in names.items())


def _placed(one: str, several: str, images: list[CheckedImage], attribute: str) -> str:
    """How many points are dropped, and where the first ones are."""
    total = sum(_count(image, attribute) for image in images)
    places = (
        f"{image.path.name} at {x:.1f}, {y:.1f}"
        for image in images
        for x, y in getattr(image, attribute).tolist()
    )
    first = _joined(list(islice(places, NAMED_AT_MOST + 1)), "; ")
    return f"{total} {one if total == 1 else several} ({first})" if total else ""


def _named(what: str, problem: str, names: list[str]) -> str:
    several = "" if len(names) == 1 else "s"
    return f"{len(names)} {what}{several} {problem} ({_first(names)})" if names else ""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _first(names: list[str]) -> str:
    return _joined(names, ", ")


def _joined(names: list[str], separator: str) -> str:
    more = ["..."] if len(names) > NAMED_AT_MOST else []
    return separator.join([*names[:NAMED_AT_MOST], *more])
