"""What was found in a set of images and points: a table, and the problems in words."""

from __future__ import annotations

from collections import Counter

from tabulate import tabulate

from selfsam_d2.data.point_datasets.point_checks import (
    DOUBLE_DISTANCE,
    CheckedImage,
    CheckedPoints,
)

__all__ = ["problems", "summary_table"]

NAMED_AT_MOST = 3
NO_CLASS = "(no class)"
COVERED = "points cover"
COUNTS = {
    "other classes": "left_out",
    "outside image": "outside",
    "double": "doubles",
    "outside regions": "off_region",
    "outlines not used": "unused_outlines",
}


def summary_table(checked: CheckedPoints, tiles: dict[str, int]) -> str:
    """One row per image, their sum, and remarks on what is left out or doubtful.

    Args:
        checked: images and points.
        tiles: name of an image -> number of its tiles, where it was cut.

    Returns:
        lines, each with its end.
    """
    counted = [Counter(image.classes) for image in checked.images]
    names = sorted(set().union(*counted))
    classes = names if names != [""] else []
    columns = ["tiles", "points", *(name or NO_CLASS for name in classes), *COUNTS]
    rows = [
        [tiles.get(image.path.name, 0), len(image.points), *(count[name] for name in classes)]
        + [getattr(image, attribute) for attribute in COUNTS.values()]
        for image, count in zip(checked.images, counted, strict=True)
    ]
    labelled = [
        [image.path.name, *row, _percent(image.covered)]
        for image, row in zip(checked.images, rows, strict=True)
    ]
    labelled.append(["all", *(sum(column) for column in zip(*rows, strict=True)), ""])
    table: str = tabulate(
        labelled,
        headers=["image", *columns, COVERED],
        tablefmt="github",
        disable_numparse=True,
    )
    return "\n".join([table, *_remarks(checked)]) + "\n"


def _remarks(checked: CheckedPoints) -> list[str]:
    """What stands below the table: a line for each kind of thing that is left out or doubtful."""
    lines = []
    partly = [
        f"{image.path.name} ({len(image.points)} points in {_percent(image.covered)})"
        for image in checked.images
        if image.one_part
    ]
    if partly:
        lines.append(
            "points in one part of an image only, all of which counts as annotated; outline what "
            f"you looked at: {', '.join(partly)}"
        )
    ignored = [f"{each.ignored} of {each.path.name}" for each in checked.images if each.ignored]
    if ignored:
        lines.append(f"points of classes that QuPath ignores (*), left out: {', '.join(ignored)}")
    without_points = [image.path.name for image in checked.images if not len(image.points)]
    if without_points:
        lines.append(f"images without points, left out: {', '.join(without_points)}")
    if checked.without_image:
        lines.append(f"points without an image, left out: {', '.join(checked.without_image)}")
    return lines


def problems(checked: CheckedPoints) -> list[str]:
    """What ``--strict`` refuses, with counts and the first names; empty if all is well."""
    images = checked.images
    empty = [image.path.name for image in images if not len(image.points)]
    partly = [f"{each.path.name}: {_percent(each.covered)}" for each in images if each.one_part]
    found = [
        _problem("points outside their image", images, "outside"),
        _problem(f"points less than {DOUBLE_DISTANCE:g} px from another", images, "doubles"),
        _problem("points outside of the regions", images, "off_region"),
        _named("images with points in one part only, without an outline", partly),
        _named("images without points", empty),
        _named("point files without an image", checked.without_image),
    ]
    return [problem for problem in found if problem]


def _problem(what: str, images: list[CheckedImage], attribute: str) -> str:
    total = sum(getattr(image, attribute) for image in images)
    names = [image.path.name for image in images if getattr(image, attribute)]
    return f"{total} {what} ({_first(names)})" if total else ""


def _named(what: str, names: list[str]) -> str:
    return f"{len(names)} {what} ({_first(names)})" if names else ""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _first(names: list[str]) -> str:
    more = ["..."] if len(names) > NAMED_AT_MOST else []
    return ", ".join([*names[:NAMED_AT_MOST], *more])
