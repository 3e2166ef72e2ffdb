"""The report of a training, from what its OUTPUT_DIR holds."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selfsam_d2.engine.architectures import learns_from_points
from selfsam_d2.engine.config_changes import changed_keys
from selfsam_d2.engine.finished_run import FinishedRun
from selfsam_d2.engine.report_images import images_section
from selfsam_d2.engine.report_labels import labels_section
from selfsam_d2.engine.report_training import training_section
from selfsam_d2.errors import InputError
from selfsam_d2.visualization.curves import draw_curves, draw_pace
from selfsam_d2.visualization.page import Folded, Page, Picture, Section, Table, write_page
from selfsam_d2.visualization.report import METRIC_MEANINGS
from selfsam_d2.visualization.symbols import explain

__all__ = ["ReportOptions", "write_run_report"]

PANEL_WIDTH = 300  # px, below which the letters of a diagram are too small
GOOD = "A good training: the losses fall and level out, the contours follow the nuclei"
GOOD_POINTS = ", and few points are left without a nucleus"


@dataclass(frozen=True)
class ReportOptions:
    """What a report is made of.

    Attributes:
        output: the HTML file; its folder must exist.
        dataset: one of DATASETS.TEST; None: the first one.
        weights: predict the images that are shown with these; None: with the last checkpoint, but
            test images as the evaluation left them, where it did.
        crops: training crops whose labels are shown, 0 or more.
    """

    output: Path
    dataset: str | None = None
    weights: str | None = None
    crops: int = 2


def write_run_report(run: FinishedRun, options: ReportOptions) -> Path:
    """Write the report of a training, finished or not, without what is not there.

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
            introduction=_introduction(run, dataset),
            sections=[
                *_mixed_section(run),
                *_evaluation_sections(run, dataset, options.weights, folder),
                *_training_sections(run, options.weights, folder),
                _curves_section(run, folder),
                labels_section(run, options.crops, folder),
                _times_section(run),
                _config_section(run),
            ],
        )
        write_page(page, options.output)
    return options.output


def _introduction(run: FinishedRun, dataset: str | None) -> list[str]:
    from_points = learns_from_points(run.cfg)
    paragraphs = [
        f"{GOOD}{GOOD_POINTS if from_points else ''}.",
        f"{run.cfg.MODEL.META_ARCHITECTURE}, trained on {'points' if from_points else 'masks'} of "
        f"{', '.join(run.cfg.DATASETS.TRAIN)}; {run.steps} steps are logged.",
    ]
    if dataset is None:
        paragraphs.append(
            "There are no metrics: they need images with masks drawn by hand, of which this run "
            'has none (DATASETS.TEST). docs/your_dataset.md, "Scored while it trains", says how to '
            "give it some."
        )
    elif run.metrics(dataset) is None:
        paragraphs.append(
            f"There are no metrics of {dataset} yet: {run.results_folder(dataset)} holds none. "
            "They need images with masks drawn by hand, and are made at the end of the training, "
            "every TEST.EVAL_PERIOD steps, and by tools/train_net.py --eval-only --resume with the "
            'config of the run; see docs/your_dataset.md, "Scored while it trains".'
        )
    return paragraphs


def _mixed_section(run: FinishedRun) -> list[Section]:
    if run.log.trainings == 1:
        return []
    text = (
        f"{run.log.trainings} trainings were started from step 0 in this folder, and this page "
        "mixes them: of a step that several have logged the last one counts, the config is that of "
        "the last start, and a checkpoint is of the training that wrote it last. For a page of one "
        "training give each a folder of its own (OUTPUT_DIR)."
    )
    return [Section("Several trainings are mixed here", [text])]


def _evaluation_sections(
    run: FinishedRun, dataset: str | None, weights: str | None, folder: Path
) -> list[Section]:
    summary = None if dataset is None else run.metrics(dataset)
    if dataset is None or summary is None:
        return []
    rows = [(name, value, METRIC_MEANINGS.get(name, "")) for name, value in summary["mean"].items()]
    images = len(summary["images"])
    result = Section(
        "Result",
        [
            f"Last evaluation on {dataset}, mean over {images} images.",
            Table(("metric", "value", "what it measures"), rows),
        ],
    )
    return [result, images_section(run, dataset, summary, weights, folder)]


def _training_sections(run: FinishedRun, weights: str | None, folder: Path) -> list[Section]:
    return [training_section(run, weights, folder)] if learns_from_points(run.cfg) else []


def _curves_section(run: FinishedRun, folder: Path) -> Section:
    if not run.rows:
        return Section("Curves", ["Nothing is logged yet: there is no metrics.json, or no row."])
    curves, pace = folder / "curves.png", folder / "pace.png"
    diagrams = draw_curves(run.rows, curves)
    draw_pace(run.rows, pace)
    return Section(
        "Curves",
        [
            Picture(
                curves,
                "Over the training steps",
                "A loss is how far the model is from its labels: lower is better. Each is shown "
                "times its weight in the config; the total is their sum.",
                min_width=diagrams * PANEL_WIDTH,
                terms=explain(name for row in run.rows for name in row),
            ),
            Picture(
                pace,
                "Learning rate and pace",
                "Each over the training step.",
                min_width=3 * PANEL_WIDTH,
            ),
        ],
    )


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
