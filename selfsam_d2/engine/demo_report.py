"""The report of a demonstration, as a page and as a table for the terminal."""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from selfsam_d2.engine.demo import DemoRun
from selfsam_d2.visualization.report import Picture, Report, write_report

__all__ = ["format_comparison", "write_demo_report"]

INTRODUCTION = (
    "SelfSAM learned to outline nuclei from one point per nucleus. No mask was used for training; "
    "masks of the validation images serve the scores only. After training no point is needed: "
    "the model sees nothing but the image.",
    "The images are synthetic: stain concentrations were painted and developed by the physics of "
    "light. They show that the whole chain works on this machine; they say nothing about how well "
    "it works on tissue.",
)
LABEL_TEXTS = (
    (
        "Pseudo labels at the start",
        "From left to right: the crop with its points; the masks that the base model draws for the "
        "points; those of the adapted model, still the same; the labels made from them; what is "
        "left out of the labels; what the untrained decoder sees without points, and its nuclei.",
    ),
    (
        "Pseudo labels at the end",
        "The same crops after training. The labels now blend in the adapted model, and where "
        "masks and decoder agree ignored pixels are recovered.",
    ),
)


def write_demo_report(run: DemoRun) -> Path:
    """Write ``report.html`` into the folder of the demo and return its path."""
    overlays = [
        Picture(
            path,
            f"Validation image {path.stem}",
            "Cyan: true nuclei. Yellow: nuclei found without any point, before and after training.",
        )
        for path in run.overlays
    ]
    labels = [
        Picture(path, title, caption, wide=True)
        for path, (title, caption) in zip(run.label_figures, LABEL_TEXTS, strict=True)
    ]
    curves = Picture(
        run.curves, "Training curves", "Losses, share of ignored pixels, metrics over the steps."
    )
    report = Report(
        title="SelfSAM: nuclei from points, before and after training",
        introduction=INTRODUCTION,
        before=run.before.mean,
        after=run.after.mean,
        timings=run.timings,
        facts=run.facts,
        pictures=[*overlays, curves, *labels],
        config=run.config.dump(),
    )
    path = run.options.output / "report.html"
    write_report(report, path)
    return path


def format_comparison(run: DemoRun) -> str:
    """The metrics before and after as a text table, no newline at the end."""
    rows = [
        (name, old, new, None if old is None or new is None else f"{new - old:+.4f}")
        for name, new in run.after.mean.items()
        for old in (run.before.mean[name],)
    ]
    table: str = tabulate(
        rows,
        headers=["mean of the validation images", "before", "after", "change"],
        floatfmt=".4f",
        missingval="-",
        disable_numparse=[0, 3],
        colalign=("left", "right", "right", "right"),
    )
    return table
