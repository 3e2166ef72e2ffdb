"""How cost grows with the size of the work."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.measure import device, in_own_process
from benchmarks.scenes import CROP, make_image, make_maps, make_pair
from benchmarks.steps import build_selfsam, prepare_step
from selfsam_d2.evaluation.metrics import nuclei_metrics
from selfsam_d2.modeling.postprocess import PostProcessSettings, separate_nuclei

__all__ = ["draw_growth", "measure_growth"]

CROP_SIDES = (128, 224, 320, 416, 512)  # px
POINTS = (1, 10, 24, 50, 100, 200)
IMAGE_SIDES = (500, 1000, 2000, 4000)  # px
NUCLEI = (100, 1000, 10_000)
SCALE = 2  # side of the encoder input / side of the crop, as in configs/monuseg_vitt.yaml

Curve = dict[str, list[float]]


def measure_growth() -> dict[str, Curve]:
    """Seconds and GB along each curve."""
    return {
        "crop side, px": _steps(
            CROP_SIDES,
            lambda side: (
                24,
                {"INPUT__NUCLEI__CROP": side, "MODEL__SAM__INPUT_SIDE": SCALE * side},
            ),
        ),
        "points of a crop": _steps(
            POINTS, lambda points: (points, {"MODEL__SAM__INPUT_SIDE": SCALE * CROP})
        ),
        "image side, px": _prediction(),
        "nuclei of an image": _nuclei(),
    }


def prepare_second_step(points: int, keys: dict[str, Any]) -> Callable[[], float]:
    """Two steps of vit_t; what is measured is the second, in seconds."""
    step = prepare_step("vit_t", points, False, False, keys)

    def run() -> float:
        step()
        return _seconds(step)

    return run


def prepare_prediction(side: int) -> Callable[[], float]:
    """Prediction of an image with vit_t, without its post-processing, in seconds."""
    model = build_selfsam("vit_t").eval()
    image, _ = make_image(side)
    settings = model.inference_settings
    return lambda: _seconds(
        lambda: settings.predict_maps(model.predict_windows, image.to(device()))
    )


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _steps(values: tuple[int, ...], arguments: Callable[[int], tuple[int, Any]]) -> Curve:
    runs = [in_own_process(prepare_second_step, *arguments(value)) for value in values]
    return {
        "x": list(values),
        "step, s": [run["result"] for run in runs],
        "step, GB": [run["peak_gb"] for run in runs],
    }


def _prediction() -> Curve:
    runs = [in_own_process(prepare_prediction, side) for side in IMAGE_SIDES]
    return {
        "x": list(IMAGE_SIDES),
        "prediction, s": [run["result"] for run in runs],
        "prediction, GB": [run["peak_gb"] for run in runs],
    }


def _nuclei() -> Curve:
    curve: Curve = {"x": [], "post-processing, s": [], "metrics, s": []}
    for nuclei in NUCLEI:
        _, instance_map = make_image(round((1000 * nuclei) ** 0.5), nuclei)
        maps = make_maps(instance_map)
        pred = make_pair(instance_map)
        settings = PostProcessSettings()
        curve["x"].append(int(instance_map.max()))
        curve["post-processing, s"].append(
            _seconds(lambda maps=maps, settings=settings: separate_nuclei(*maps, settings))
        )
        curve["metrics, s"].append(
            _seconds(lambda true=instance_map, pred=pred: nuclei_metrics(true, pred))
        )
    return curve


def draw_growth(growth: dict[str, Curve], path: Path) -> None:
    """One panel a curve, seconds on the left, GB on the right."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, curve) in zip(figure.subplots(2, 2).flat, growth.items(), strict=True):
        memory = axes.twinx() if any("GB" in each for each in curve) else None
        for label, values in curve.items():
            if label == "x":
                continue
            is_memory = label.endswith("GB")
            target = memory if is_memory else axes
            style = {"color": "tab:orange", "linestyle": "--"} if is_memory else {}
            target.plot(curve["x"], values, marker="o", label=label, **style)
        axes.set_xlabel(name)
        axes.set_ylabel("s")
        axes.set_ylim(bottom=0)
        handles = axes.get_legend_handles_labels()
        if memory is not None:
            memory.set_ylabel("GB")
            memory.set_ylim(bottom=0)
            extra = memory.get_legend_handles_labels()
            handles = tuple(own + added for own, added in zip(handles, extra, strict=True))
        axes.legend(*handles, loc="upper left")
    figure.savefig(path, dpi=110)
