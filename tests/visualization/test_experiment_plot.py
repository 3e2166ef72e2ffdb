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


def test_each_row_is_one_mark_at_its_height(tmp_path, monkeypatch):
    figures = []
    save = Figure.savefig

    def keep(figure, *arguments, **options):
        figures.append(figure)
        return save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    rows = [
        row("static", 0.0, 0.50, 0.01),
        row("self-refining", 0.0, 0.54),
        row("self-refining", 8.0, 0.51),
        row("static", 0.0, 0.6, dataset="tnbc_val"),
    ]
    draw_experiments(rows, tmp_path / "plot.png")
    (figure,) = figures
    first, second = figure.axes
    heights = [list(container[0].get_ydata()) for container in first.containers]
    assert heights == [[0.50, 0.54], [0.51]]
    assert [label.get_text() for label in first.get_xticklabels()] == ["static", "self-refining"]
    assert [list(container[0].get_ydata()) for container in second.containers] == [[0.6]]
    pixels = np.asarray(Image.open(tmp_path / "plot.png").convert("RGB"))
    assert pixels.shape[1] > pixels.shape[0]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
