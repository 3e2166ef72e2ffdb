"""The lines of the table: each compares this package with the plain way of doing the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from segment_anything.modeling.image_encoder import Attention
from torch import nn

from benchmarks.measure import Line, device, in_own_process, interleave
from benchmarks.plain_metrics import plain_metrics
from benchmarks.plain_pipeline import plain_postprocess, predict_window_by_window
from benchmarks.processes import processes
from benchmarks.scenes import CROP, make_image, make_maps, make_pair
from benchmarks.slides import prepare_slide
from benchmarks.steps import build_selfsam, prepare_step, prepare_steps, read_base_masks
from selfsam_d2.evaluation.contingency import ContingencyTable
from selfsam_d2.evaluation.metrics import nuclei_metrics
from selfsam_d2.modeling.postprocess import PostProcessSettings, separate_nuclei
from selfsam_d2.modeling.vit import RelativeAttention

__all__ = ["LINES", "RATIOS"]

# The ratios that the table sets a target for; other lines are there to explain them.
RATIOS = (
    "attention_memory",
    "attention_time",
    "vitb_step_time",
    "base_cache_step_time",
    "predict_time",
    "postprocess_time",
    "metrics_time",
    "points_memory_growth",
)

# Sizes of the work, those of the tables in docs/performance.md.
GRID, DIM, HEADS = 64, 768, 12  # of a global block of ViT-B at side 1024
VIT_SIDE, VIT_T_SIDE = 1024, 512  # of the encoder input in a training step, px
LARGEST = "vit_h"
POINTS, FEW_POINTS, MANY_POINTS = 24, 20, 200
IMAGE_SIDE = 1000  # px
OVERLAP = 80  # px
SLIDE_SIDE = 20_000  # px
SLIDE_MODEL = "selfsam_monuseg_vitt"
SLIDE_NUCLEI = 60  # for each 1000² of it
# By which the maps may differ without tiles, on average: the other side resizes by PIL, which
# rounds to whole numbers.
WINDOWS_DIFFER = 0.02


def prepare_attention(ours: bool, backward: bool, grid: int) -> Callable[[], None]:
    """A global attention of ViT-B on grid x grid tokens, ready to be run."""
    attention, tokens = _attention(ours, grid)
    tokens.requires_grad_(backward)

    def run() -> None:
        with torch.set_grad_enabled(backward):
            out = attention(tokens)
        if backward:
            out.sum().backward()

    return run


def _attention(ours: bool, grid: int) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    theirs = Attention(DIM, HEADS, use_rel_pos=True, input_size=(grid, grid))
    nn.init.normal_(theirs.rel_pos_h, std=0.1)
    nn.init.normal_(theirs.rel_pos_w, std=0.1)
    tokens = torch.randn(1, grid, grid, DIM)
    own = RelativeAttention(DIM, HEADS, 0)
    for name in ("rel_pos_h", "rel_pos_w"):  # of this grid, not interpolated to it
        setattr(own, name, nn.Parameter(torch.empty_like(getattr(theirs, name))))
    own.load_state_dict(theirs.state_dict())
    chosen = own if ours else theirs
    return chosen.requires_grad_(False).to(device()), tokens.to(device())


@torch.no_grad()
def _attention_difference() -> float:
    ours, tokens = _attention(True, GRID)
    return float((ours(tokens) - _attention(False, GRID)[0](tokens)).abs().max())


def attention(repeats: int) -> list[Line]:
    """Global attention of ViT-B: memory and time, forward; with backward beside."""
    lines = []
    for backward in (False, True):
        suffix, text = ("_training", "forward + backward") if backward else ("", "forward")
        sides = [(ours, backward, GRID) for ours in (True, False)]
        memory = [in_own_process(prepare_attention, *side) for side in sides]
        timing = interleave(*(prepare_attention(*side) for side in sides), repeats)
        work = f"ViT-B global attention, {GRID}x{GRID} tokens, {text}"
        added = [each["added_gb"] for each in memory]
        difference = _attention_difference()
        check_same("attention", difference, 1e-4)
        raw = {"largest_difference": difference}
        lines += [
            Line(
                f"attention_memory{suffix}",
                f"{work}: memory that it adds",
                "GB",
                *added,
                1 / 5,
                {**raw, "runs": memory},
            ),
            Line(
                f"attention_time{suffix}", f"{work}: time", "s", *timing.medians, 1.0, timing.raw()
            ),
        ]
    return lines


def check_same_loss(ours: float, other: float) -> None:
    """Both sides must do the same work.

    Raises:
        RuntimeError: the losses differ by more than 0.1%.
    """
    check_same("relative loss", abs(ours - other) / abs(other), 1e-3)


def check_same(what: str, difference: float, most: float) -> None:
    """Both sides must give the same.

    Raises:
        RuntimeError: they differ by more than ``most``.
    """
    if difference > most:
        raise RuntimeError(f"{what}: both sides differ by {difference}, at most {most}")


def vitb_step(repeats: int) -> list[Line]:
    """A training step of ViT-B at side 1024 with 24 points."""
    keys = {"MODEL__SAM__INPUT_SIDE": VIT_SIDE}
    memory = [
        in_own_process(prepare_steps, 2, "vit_b", POINTS, theirs, keys) for theirs in (False, True)
    ]
    check_same_loss(memory[0]["result"], memory[1]["result"])
    steps = [prepare_step("vit_b", POINTS, theirs, False, keys) for theirs in (False, True)]
    timing = interleave(*steps, repeats)
    work = f"ViT-B step, side {VIT_SIDE}, {POINTS} points"
    peaks, added = ([each[name] for each in memory] for name in ("peak_gb", "added_gb"))
    raw = {"runs": memory}
    return [
        Line("vitb_step_time", f"{work}: time", "s", *timing.medians, 0.7, timing.raw()),
        Line("vitb_step_memory", f"{work}: memory of the process", "GB", *peaks, None, raw),
        Line("vitb_step_added", f"{work}: memory that it adds", "GB", *added, None, raw),
        Line("vitb_step_gb", f"{work}: memory of the process", "GB", peaks[0], None, 5.0),
    ]


def vith_step(repeats: int) -> list[Line]:
    """A training step of ViT-H at side 1024 with 24 points, once."""
    del repeats
    keys = {"MODEL__SAM__INPUT_SIDE": VIT_SIDE, "MODEL__SAM__CHECKPOINT_BLOCKS": True}
    run = in_own_process(prepare_steps, 1, LARGEST, POINTS, False, keys)
    work = (
        f"ViT-H step, side {VIT_SIDE}, {POINTS} points, blocks checkpointed: memory of the process"
    )
    return [Line("vith_step_gb", work, "GB", run["peak_gb"], None, 16.0, {"run": run})]


def base_cache_step(repeats: int) -> list[Line]:
    """A step of vit_t at side 512 with and without stored base masks."""
    keys = {"MODEL__SAM__INPUT_SIDE": VIT_T_SIDE}
    with_cache, without = (
        prepare_step("vit_t", POINTS, False, cached, keys) for cached in (True, False)
    )
    check_same_loss(with_cache(), without())
    timing = interleave(with_cache, without, repeats)
    raw = {**timing.raw(), "reading_seconds": read_base_masks(POINTS, keys)}
    work = f"vit_t step, side {VIT_T_SIDE}, {POINTS} points: with base cache / without"
    return [Line("base_cache_step_time", work, "s", *timing.medians, 0.65, raw)]


def predict(repeats: int) -> list[Line]:
    """Prediction of a 1000² image; what is post-processed are maps of its true nuclei."""
    model = build_selfsam("vit_t").eval()
    settings = model.inference_settings
    image, instance_map = make_image(IMAGE_SIDE)
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    maps = make_maps(instance_map)

    def ours() -> Any:
        predicted = settings.predict_maps(model.predict_windows, image.to(device()))
        separate_nuclei(*maps, settings.postprocess)
        return predicted.numpy()

    def other() -> Any:
        predicted = predict_window_by_window(model, pixels, CROP, OVERLAP)
        plain_postprocess(*maps, settings.postprocess)
        return predicted

    lines, tile = [], settings.tile
    for key, side in (("predict_time", tile), ("predict_time_windows", 0)):
        settings.tile = side
        timing = interleave(ours, other, repeats)
        difference = float(np.abs(ours() - other()).mean())
        if not side:
            check_same("mean difference of the maps", difference, WINDOWS_DIFFER)
        raw = {"mean_difference": difference, **timing.raw()}
        form = f"tiles of {side} px" if side else "batched windows"
        work = f"prediction of a {IMAGE_SIDE}² image, vit_t: {form} / window by window"
        lines.append(Line(key, work, "s", *timing.medians, 0.5, raw))
    return lines


def postprocess(repeats: int) -> list[Line]:
    """Post-processing of a 1000² image with 1,000 nuclei."""
    maps = make_maps(make_image(1000)[1])
    settings = PostProcessSettings()

    def ours() -> Any:
        return separate_nuclei(*maps, settings)

    def other() -> Any:
        return plain_postprocess(*maps, settings)

    timing = interleave(ours, other, 3 * repeats)
    found = ours()
    check_same("post-processing", differing_pixels(found, other()), 0)
    raw = {"nuclei": int(found.max()), **timing.raw()}
    work = "post-processing, 1000², 1,000 nuclei: against OpenCV/scikit-image recipe"
    return [Line("postprocess_time", work, "s", *timing.medians, 0.4, raw)]


def differing_pixels(first: Any, second: Any) -> int:
    """Pixels that are not in the same nucleus, whatever its number; background is one of them."""
    one = ContingencyTable.from_maps(first + 1, second + 1)
    # From both sides, so that neither a split nor a merged nucleus counts as the same.
    same = [
        each.overlaps[each.best_overlaps(each.overlaps)].sum() for each in (one, one.transposed())
    ]
    return int(first.size - min(same))


def metrics(repeats: int) -> list[Line]:
    """All metrics of 1,000 against about 1,000 nuclei on 1000²."""
    true = make_image(1000)[1]
    pred = make_pair(true)
    timing = interleave(
        lambda: nuclei_metrics(true, pred), lambda: plain_metrics(true, pred), repeats
    )
    ours, other = nuclei_metrics(true, pred), plain_metrics(true, pred)
    pairs_once = interleave(lambda: None, lambda: plain_metrics(true, pred, True), repeats).medians
    check_same("metrics", max(abs(ours[name] - other[name]) for name in ours), 1e-9)
    raw = {
        "nuclei": [len(np.unique(each)) - 1 for each in (true, pred)],
        "other_with_pairs_found_once_seconds": pairs_once[1],
        **timing.raw(),
    }
    work = "all metrics, 1000², 1,000 nuclei: against loops over nuclei"
    return [Line("metrics_time", work, "s", *timing.medians, 1 / 50, raw)]


def points_memory(repeats: int) -> list[Line]:
    """Memory of a vit_t step with 200 points against 20."""
    del repeats
    keys = {"MODEL__SAM__INPUT_SIDE": VIT_T_SIDE}
    counts = (MANY_POINTS, FEW_POINTS)
    runs = [in_own_process(prepare_steps, 3, "vit_t", count, False, keys) for count in counts]
    work = f"vit_t step, side {VIT_T_SIDE}, {counts[0]} points / {counts[1]} points"
    peaks, added = ([each[name] for each in runs] for name in ("peak_gb", "added_gb"))
    raw = {"runs": runs}
    return [
        Line("points_memory_growth", f"{work}: memory of the process", "GB", *peaks, 1.5, raw),
        Line("points_memory_added", f"{work}: memory that it adds", "GB", *added, None, raw),
    ]


def slide(repeats: int) -> list[Line]:
    """Memory of a slide: all tissue, without a model; a tenth tissue, or it takes an hour, with."""
    del repeats
    rows = [("", 1.0, "slide_gb"), (SLIDE_MODEL, 0.1, "slide_model_gb")]
    lines = []
    for weights, tissue, key in rows:
        run = in_own_process(prepare_slide, SLIDE_SIDE, SLIDE_NUCLEI, weights, tissue)
        found = f"{run['result']['nuclei']} nuclei{weights and ', by ' + weights}"
        work = f"slide of {SLIDE_SIDE}², {tissue:.0%} tissue, {found}: memory of the process"
        lines.append(Line(key, work, "GB", run["peak_gb"], None, 4.0, {"runs": [run]}))
    return lines


LINES: dict[str, Callable[[int], list[Line]]] = {
    "attention": attention,
    "vitb_step": vitb_step,
    "vith_step": vith_step,
    "base_cache_step": base_cache_step,
    "predict": predict,
    "postprocess": postprocess,
    "metrics": metrics,
    "points_memory": points_memory,
    "slide": slide,
    "processes": processes,
}
