"""Training images in a report: contours of what the model finds, and the points it learned from."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from selfsam_d2.engine.finished_run import FinishedRun
from selfsam_d2.engine.report_images import save_drawing
from selfsam_d2.engine.run_model import load_run_model
from selfsam_d2.engine.training_images import (
    MAX_SIDE,
    MatchedImage,
    choose_matched,
    match_image,
    read_training_images,
)
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.point_matches import NO_POINT, NOT_COUNTED, ONE_POINT, SEVERAL_POINTS
from selfsam_d2.visualization.page import Picture, Section, Table
from selfsam_d2.visualization.point_overlay import (
    NUCLEUS_COLORS,
    POINT_COLORS,
    draw_point_matches,
)

__all__ = ["training_section"]

logger = logging.getLogger(__name__)

TITLE = "Nuclei found on training images"
LEGEND = [
    ("nucleus with one point, and points inside a nucleus", NUCLEUS_COLORS[ONE_POINT]),
    ("point without a nucleus", POINT_COLORS["out"]),
    ("nucleus without a point", NUCLEUS_COLORS[NO_POINT]),
    ("nucleus with several points", NUCLEUS_COLORS[SEVERAL_POINTS]),
]
GREY = (
    "Grey nuclei are not counted: they hold no point, but reach to where no points were set, or to "
    "the edge of the crop, beyond which their point may lie."
)


def training_section(run: FinishedRun, weights: str | None, folder: Path) -> Section:
    """Three training images with contours and points, and the counts of up to twelve.

    Args:
        run: a training from points.
        weights: see :class:`selfsam_d2.engine.run_report.ReportOptions`.
        folder: where overlays are drawn.

    Raises:
        InputError: ``weights`` are given and cannot be used.
    """
    try:
        images, total = read_training_images(run.cfg)
    except InputError as error:
        return _nothing(error)
    try:
        model, file = load_run_model(run, weights)
    except InputError as error:
        if weights is not None:
            raise
        return _nothing(error)
    matched = [match_image(model, image) for image in images]
    chosen = choose_matched(matched)
    pictures = [_picture(word, image, folder) for word, image in chosen.items()]
    words = {image.source.name: word for word, image in chosen.items()}
    return Section(
        TITLE, [_introduction(matched, total, file), *pictures, *_counts(matched, words)]
    )


def _nothing(why: InputError) -> Section:
    """Said on the terminal as well: a report that lacks its pictures may replace one that has."""
    logger.warning("WARNING: no training image is shown: %s", why)
    return Section(TITLE, [f"None is shown: {why}"])


def _introduction(matched: Sequence[MatchedImage], total: int, file: str) -> str:
    crops = (
        ""
        if all(each.source.whole for each in matched)
        else f" Of images with a side above {MAX_SIDE} px it is a crop in the middle of the points."
    )
    which = (
        f"all training images that have points ({total})"
        if len(matched) == total
        else f"{len(matched)} of the {total} training images that have points, evenly chosen"
    )
    return (
        f"What {file} finds on {which}, from the image alone; the points are only drawn on top."
        f"{crops} Shown are the images where points and nuclei differ least, most, and in between. "
        "The model has learned from these images: on new ones it may be worse."
    )


def _picture(word: str, image: MatchedImage, folder: Path) -> Picture:
    source, matches = image.source, image.matches
    drawn = draw_point_matches(source.image, image.pred, source.points, matches)
    greys = [NOT_COUNTED] if NOT_COUNTED in matches.of_nucleus.values() else []
    counts = "; ".join(f"{name}: {count}" for name, count in matches.counts().items())
    return Picture(
        save_drawing(drawn, folder / f"training_{word}.jpg"),
        f"{word.capitalize()} difference: {source.name}{'' if source.whole else ' (crop)'}",
        f"{counts.capitalize()}.",
        legend=[*LEGEND, *((f"nucleus {kind}", NUCLEUS_COLORS[kind]) for kind in greys)],
    )


def _counts(matched: Sequence[MatchedImage], words: dict[str, str]) -> list[str | Table]:
    rows: list[tuple[str | float, ...]] = []
    total: Counter[str] = Counter()
    for each in matched:
        counts, name = each.matches.counts(), each.source.name
        total.update(counts)
        rows.append((name, words.get(name, ""), *counts.values(), 100 * each.matches.difference()))
    alone = total["points without a nucleus"] + total["nuclei without a point"]
    grey = any(NOT_COUNTED in each.matches.of_nucleus.values() for each in matched)
    return [
        "A point is inside a nucleus if the pixel under it is. The difference: points without a "
        "nucleus and nuclei without a point, in % of the points.",
        *([GREY] if grey else []),
        Table(
            ("image", "shown as", *total, "difference, %"),
            rows,
            footer=[("all", "", *total.values(), 100 * alone / total["points"])],
            sortable=True,
            digits=1,
        ),
    ]
