"""The report of a training, from what its OUTPUT_DIR holds."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selfsam_d2.engine.architectures import learns_from_points
from selfsam_d2.engine.config_changes import changed_keys
from selfsam_d2.engine.finished_run import FinishedRun
from selfsam_d2.engine.label_stages import label_stages
from selfsam_d2.engine.report_images import images_section
from selfsam_d2.errors import InputError
from selfsam_d2.visualization.curves import draw_curves, draw_pace
from selfsam_d2.visualization.label_history import LabelStage, changed_pixels, draw_label_history
from selfsam_d2.visualization.page import Folded, Page, Picture, Section, Table, write_page
from selfsam_d2.visualization.report import METRIC_MEANINGS

__all__ = ["ReportOptions", "write_run_report"]

CURVES_WIDTH = 900  # px, below which their letters are too small
Part = str | Table | Picture | Folded
LABEL_COLUMNS = {
    "alpha": "alpha",
    "labels/prompt_ignored": "ignored in S_P",
    "labels/instance_ignored": "ignored in S_I",
    "labels/recovered": "recovered",
    "labels/empty_prompts": "points without a label",
}


@dataclass(frozen=True)
class ReportOptions:
    """What a report is made of.

    Attributes:
        output: the HTML file; its folder must exist.
        dataset: one of DATASETS.TEST; None: the first one.
        weights: predict the images that are shown with these; None: as the evaluation left them,
            or, where it left none, with the last checkpoint.
        crops: training crops whose labels are shown, 0 or more.
    """

    output: Path
    dataset: str | None = None
    weights: str | None = None
    crops: int = 2


def write_run_report(run: FinishedRun, options: ReportOptions) -> Path:
    """Write the report of a training, finished or not; what is not there is said in its place.

    Args:
        run: the training, its datasets registered.
        options: of the report.

    Returns:
        the HTML file.

    Raises:
        InputError: a file of the run is damaged, an option cannot be used, or the
            page cannot be written.
    """
    tests = run.cfg.DATASETS.TEST
    if options.dataset is not None and options.dataset not in tests:
        raise InputError(f"--dataset {options.dataset}", f"is none of DATASETS.TEST {tuple(tests)}")
    dataset = options.dataset or (tests[0] if tests else None)
    with tempfile.TemporaryDirectory() as drawn:
        folder = Path(drawn)
        page = Page(
            title=f"Training {run.folder.resolve().name}",
            introduction=[_introduction(run)],
            sections=[
                _metrics_section(run, dataset),
                _curves_section(run, folder),
                images_section(run, dataset, options.weights, folder),
                _labels_section(run, options.crops, folder),
                _times_section(run),
                _config_section(run),
            ],
        )
        write_page(page, options.output)
    return options.output


def _introduction(run: FinishedRun) -> str:
    learns = "points" if learns_from_points(run.cfg) else "masks"
    return (
        f"{run.cfg.MODEL.META_ARCHITECTURE}, trained on {learns} of "
        f"{', '.join(run.cfg.DATASETS.TRAIN)}; {run.steps} steps are logged."
    )


def _metrics_section(run: FinishedRun, dataset: str | None) -> Section:
    summary = None if dataset is None else run.metrics(dataset)
    if summary is None:
        return Section("Result", [not_evaluated(run, dataset)])
    rows = [(name, value, METRIC_MEANINGS.get(name, "")) for name, value in summary["mean"].items()]
    images = len(summary["images"])
    return Section(
        "Result",
        [
            f"Last evaluation on {dataset}, mean over {images} images.",
            Table(("metric", "value", "what it measures"), rows),
        ],
    )


def not_evaluated(run: FinishedRun, dataset: str | None) -> str:
    """Why there are no metrics, and how to get them."""
    if dataset is None:
        return "DATASETS.TEST is empty: this run is evaluated on nothing."
    return (
        f"No metrics of {dataset} in {run.results_folder(dataset)}: this run was not evaluated "
        "yet. It is at its end, every TEST.EVAL_PERIOD steps, and by tools/train_net.py "
        "--eval-only --resume with its config."
    )


def _curves_section(run: FinishedRun, folder: Path) -> Section:
    if not run.rows:
        return Section("Curves", ["Nothing is logged yet: there is no metrics.json, or no row."])
    curves, pace = folder / "curves.png", folder / "pace.png"
    draw_curves(run.rows, curves)
    draw_pace(run.rows, pace)
    return Section(
        "Curves",
        [
            Picture(
                curves,
                "Losses, pseudo labels and metrics",
                "Each over the training step. Losses carry their weights.",
                min_width=CURVES_WIDTH,
            ),
            Picture(
                pace,
                "Learning rate and pace",
                "Each over the training step.",
                min_width=CURVES_WIDTH,
            ),
        ],
    )


def _labels_section(run: FinishedRun, crops: int, folder: Path) -> Section:
    title = "Pseudo labels over the epochs"
    if not learns_from_points(run.cfg):
        return Section(title, [f"{run.cfg.MODEL.META_ARCHITECTURE} learns from masks: none."])
    parts: list[Part] = [*_epoch_table(run)]
    if crops:
        try:
            stages = label_stages(run, crops)
        except InputError as error:
            parts.append(f"No training crops are shown: {error}")
        else:
            parts += _stage_parts(stages, folder)
    return Section(title, parts)


def _epoch_table(run: FinishedRun) -> list[Part]:
    of_epoch: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in run.rows:
        epoch = run.epoch_of(row)
        if epoch is not None and "alpha" in row:
            of_epoch[epoch].append(row)
    if not of_epoch:
        return ["No epochs are known: log.txt says how many crops each has, metrics.json the rest."]
    rows = [
        (str(epoch), *(_mean(own, name) for name in LABEL_COLUMNS))
        for epoch, own in of_epoch.items()
    ]
    return [
        "Means over what was logged in the steps of each epoch: shares of the pixels of the "
        "training crops, or of their points. S_P is the label made from the prompts, S_I the one "
        "that the decoder learns.",
        Table(("epoch", *LABEL_COLUMNS.values()), rows, digits=3),
    ]


def _mean(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return sum(values) / len(values) if values else None


def _stage_parts(stages: Sequence[LabelStage], folder: Path) -> list[Part]:
    if not stages:
        return ["No training crops are shown: no checkpoint is kept."]
    path = folder / "label_history.png"
    draw_label_history(stages, path)
    rows = []
    for before, stage in zip([None, *stages], stages, strict=False):
        shares = stage.shares()
        changed = None if before is None else _changed(before, stage)
        rows.append((stage.title, shares["nuclei"], shares["ignored"], changed))
    return [
        Picture(
            path,
            "S_P of the first training crops, made again",
            "By the checkpoints that are kept, each under the rules of its epoch (alpha, prompts), "
            "with the augmentation of the training. Each nucleus has a colour.",
            wide=True,
        ),
        "Of the pixels of these crops:",
        Table(("moment", "nuclei", "ignored", "changed since the row above"), rows, digits=3),
    ]


def _changed(before: LabelStage, after: LabelStage) -> float:
    pairs = list(zip(before.views, after.views, strict=True))
    pixels = sum(int((~view.outside).sum()) for view in after.views)
    changed = sum(int(changed_pixels(*pair).sum()) for pair in pairs)
    return changed / pixels if pixels else 0.0


def _times_section(run: FinishedRun) -> Section:
    log, batch = run.log, 1 + run.cfg.INFERENCE.WORKERS
    rows: list[tuple[str, str | float | None]] = [
        ("seconds per step, median", run.median("time")),
        ("of it waiting for data", run.median("data_time")),
        *(
            (f"seconds per image, evaluation {number}", seconds / batch)
            for number, seconds in enumerate(log.inference, start=1)
        ),
        *((f"training, start {number}", text) for number, text in enumerate(log.training, start=1)),
        (
            "peak memory of the GPU",
            "not logged: there is none" if log.gpu_memory is None else f"{log.gpu_memory} MB",
        ),
        ("device of the config", run.cfg.MODEL.DEVICE),
    ]
    return Section("Times and memory", [Table(("what", "value"), rows, digits=3)])


def _config_section(run: FinishedRun) -> Section:
    rows = [
        (key, _as_yaml(value), _as_yaml(default))
        for key, (value, default) in changed_keys(run.cfg).items()
    ]
    return Section(
        "Config",
        [
            "Keys that differ from the defaults.",
            Table(("key", "value", "default"), rows),
            Folded("All keys and values", run.cfg.dump()),
        ],
    )


def _as_yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True)
    return text.removesuffix("\n").removesuffix("\n...")
