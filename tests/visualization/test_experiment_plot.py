"""The plot of runs, read back from the figure before it is drawn."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from selfsam_d2.visualization.experiment_plot import draw_experiments


def row(method, shift, mean, sd=None, dataset="monuseg_val"):
    return {
        "dataset": dataset,
        "encoder": "vit_t",
        "method": method,
        "shift": shift,
        "metrics": {"AJI": {"mean": mean, "sd": sd}},
    }


def drawn(rows, path, monkeypatch):
    """The figure, as it is before it is written."""
    figures = []
    save = Figure.savefig

    def keep(figure, *arguments, **options):
        figures.append(figure)
        return save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    draw_experiments(rows, path)
    (figure,) = figures
    return figure


def test_each_row_is_one_mark_at_its_height(tmp_path, monkeypatch):
    rows = [
        row("static", 0.0, 0.50, 0.01),
        row("self-refining", 0.0, 0.54),
        row("self-refining", 8.0, 0.51),
        row("static", 0.0, 0.6, dataset="tnbc_val"),
    ]
    figure = drawn(rows, tmp_path / "plot.png", monkeypatch)
    first, second = figure.axes
    heights = [list(container[0].get_ydata()) for container in first.containers]
    assert heights == [[0.50, 0.54], [0.51]]
    assert [label.get_text() for label in first.get_xticklabels()] == ["static", "self-refining"]
    assert [list(container[0].get_ydata()) for container in second.containers] == [[0.6]]
    pixels = np.asarray(Image.open(tmp_path / "plot.png").convert("RGB"))
    assert pixels.shape[1] > pixels.shape[0]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10


def test_what_is_not_defined_has_no_mark(tmp_path, monkeypatch):
    rows = [
        row("static", 0.0, None),
        row("self-refining", 0.0, 0.5),
        row("static", 0.0, None, dataset="empty_val"),
    ]
    first, second = drawn(rows, tmp_path / "plot.png", monkeypatch).axes
    assert [list(container[0].get_ydata()) for container in first.containers] == [[0.5]]
    assert [list(container[0].get_xdata()) for container in first.containers] == [[1]]
    assert [list(container[0].get_ydata()) for container in second.containers] == [[]]
