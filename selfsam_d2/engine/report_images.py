"""The images of an evaluation in a report: metrics of each, and the best, median and worst one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsam_d2.data.images import read_image
from selfsam_d2.engine.architectures import predicts_instances
from selfsam_d2.engine.finished_run import FinishedRun
from selfsam_d2.engine.run_images import (
    CHOSEN_BY,
    ScoredImage,
    choose_images,
    kept_images,
    predict_again,
)
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.error_kinds import FOUND, MERGED, MISSED, SPLIT, SPURIOUS
from selfsam_d2.visualization.error_overlay import ERROR_COLORS, draw_errors
from selfsam_d2.visualization.page import Picture, Section, Table

__all__ = ["images_section", "save_drawing"]

KINDS = (FOUND, MISSED, MERGED, SPLIT, SPURIOUS)
JPEG_QUALITY = 90
EXPLANATION = (
    "Found: a prediction with an IoU above 0.5. Merged: one prediction holds more than half of "
    "each of several true nuclei. Split: several predictions lie for more than half in one true "
    "nucleus. Missed and spurious: all others, so that a nucleus outlined badly (IoU 0.5 or less) "
    "is both missed and spurious. Thick lines are predictions and missed nuclei, thin ones found "
    "nuclei and the truth where nuclei are merged or split."
)


def images_section(
    run: FinishedRun, dataset: str, summary: Mapping[str, Any], weights: str | None, folder: Path
) -> Section:
    """Metrics of each image, and overlays of three.

    Args:
        run: the training.
        dataset: of the evaluation.
        summary: its metrics, see :meth:`FinishedRun.metrics`.
        weights: see :class:`selfsam_d2.engine.run_report.ReportOptions`.
        folder: where overlays are drawn.

    Raises:
        InputError: a result is damaged, or ``weights`` are given and cannot be used.
    """
    title = "Images of the evaluation"
    images = summary["images"]
    if not predicts_instances(run.cfg):
        return Section(
            title, [_metrics_table(summary, {}, {}), "This model tells no nuclei apart."]
        )
    chosen = choose_images(images)
    counts: dict[str, dict[str, int]] = {}
    try:
        shown: dict[str, ScoredImage] = {}
        source = "predictions of the last evaluation"
        if weights is None:
            counts, shown = kept_images(run, dataset, images, tuple(chosen.values()))
        if chosen and not shown:
            shown, name = predict_again(run, dataset, tuple(chosen.values()), weights)
            source = f"predicted anew with {name}"
        pictures = [_picture(word, shown[name], source, folder) for word, name in chosen.items()]
    except InputError as error:
        if weights is not None:
            raise
        return Section(title, [_metrics_table(summary, counts, chosen), f"No overlays: {error}"])
    table = _metrics_table(summary, counts, chosen)
    return Section(title, [table, EXPLANATION, *pictures])


def _metrics_table(
    summary: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]], chosen: Mapping[str, str]
) -> Table:
    metrics = list(summary["mean"])
    kinds = KINDS if counts else ()
    words = {name: word for word, name in chosen.items()}
    rows = [
        (
            name,
            *([words.get(name, "")] if words else []),
            *(row[metric] for metric in metrics),
            *(counts[name][kind] for kind in kinds),
        )
        for name, row in summary["images"].items()
    ]
    footer: list[Any] = ["mean", *([""] if words else []), *summary["mean"].values()]
    footer += [f"{sum(each[kind] for each in counts.values()) / len(counts):.1f}" for kind in kinds]
    header = ("image", *([f"by {CHOSEN_BY}"] if words else []), *metrics, *kinds)
    return Table(header, rows, footer=[footer], sortable=True, digits=3)


def _picture(word: str, image: ScoredImage, source: str, folder: Path) -> Picture:
    drawn = draw_errors(read_image(image.file), image.true, image.pred, image.kinds)
    counts = image.kinds.counts()
    told = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS)
    return Picture(
        save_drawing(drawn, folder / f"{word}.jpg"),
        f"{word.capitalize()} image: {image.name}",
        f"{CHOSEN_BY} {image.metrics[CHOSEN_BY]:.3f}, Dice {image.metrics['Dice']:.3f}; "
        f"{len(image.kinds.true)} true nuclei, {len(image.kinds.pred)} predicted: {told}. "
        f"{source.capitalize()}.",
        legend=[(kind, ERROR_COLORS[kind]) for kind in KINDS],
    )


def save_drawing(drawn: NDArray[np.uint8], path: Path) -> Path:
    """Write an image with contours for the page, and give its path.

    Args:
        drawn: (H, W, 3) uint8 RGB.
        path: JPEG file; its folder must exist.
    """
    # Colours at full resolution: half of it would blur the contours.
    Image.fromarray(drawn).save(path, quality=JPEG_QUALITY, subsampling=0)
    return path
