"""Every line of the benchmark at a small size: both sides run, agree, and are both in the table."""

from pathlib import Path

import numpy as np
import pytest

TOOLS = Path(__file__).parents[2] / "tools"
WHEN = ("", "_training")


@pytest.fixture
def lines(monkeypatch):
    # As Python puts the folder of a script there.
    monkeypatch.syspath_prepend(str(TOOLS))
    from benchmarks import lines, processes

    for name, value in {
        "GRID": 6,
        "VIT_SIDE": 64,
        "LARGEST": "vit_b",
        "VIT_T_SIDE": 64,
        "POINTS": 3,
        "FEW_POINTS": 1,
        "MANY_POINTS": 2,
        "IMAGE_SIDE": 250,
        "SLIDE_SIDE": 300,
        "SLIDE_NUCLEI": 9,
    }.items():
        monkeypatch.setattr(lines, name, value)
    monkeypatch.setattr(processes, "SIDE", lines.VIT_T_SIDE)
    monkeypatch.setattr(processes, "POINTS", lines.POINTS)
    return lines


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("attention", [f"attention_{what}{when}" for when in WHEN for what in ("memory", "time")]),
        ("vitb_step", ["vitb_step_time", "vitb_step_memory", "vitb_step_added", "vitb_step_gb"]),
        ("vith_step", ["vith_step_gb"]),
        ("base_cache_step", ["base_cache_step_time"]),
        ("predict", ["predict_time", "predict_time_windows"]),
        ("points_memory", ["points_memory_growth", "points_memory_added"]),
        ("slide", ["slide_gb", "slide_model_gb"]),
        ("processes", ["processes_step_time", "processes_gradients_time", "all_reduce_s"]),
    ],
)
def test_a_line_is_measured(lines, name, keys):
    measured = lines.LINES[name](1)
    assert [line.key for line in measured] == keys
    for line in measured:
        assert line.ours > 0
        assert line.other is None or line.other > 0
        assert (line.ratio is None) == line.key.endswith(("_gb", "all_reduce_s"))


def test_windows_that_differ_are_no_comparison(lines, monkeypatch):
    monkeypatch.setattr(lines, "WINDOWS_DIFFER", 1e-9)
    with pytest.raises(RuntimeError, match="mean difference of the maps: both sides differ"):
        lines.predict(1)


def test_a_step_of_other_losses_is_no_comparison(lines):
    lines.check_same_loss(1.0, 1.0005)
    with pytest.raises(RuntimeError, match="relative loss"):
        lines.check_same_loss(1.0, 1.01)


def test_growth_is_measured_and_drawn(lines, monkeypatch, tmp_path):
    from benchmarks import growth

    for name, value in {
        "CROP_SIDES": (32, 64),
        "POINTS": (1,),
        "IMAGE_SIDES": (100,),
        "NUCLEI": (10, 40),
    }.items():
        monkeypatch.setattr(growth, name, value)
    curves = growth.measure_growth()
    assert curves["crop side, px"]["x"] == [32, 64]
    assert curves["nuclei of an image"]["x"] == [10, 40]
    for curve in curves.values():
        assert all(len(values) == len(curve["x"]) for values in curve.values())
        assert all(value > 0 for values in curve.values() for value in values)
    growth.draw_growth(curves, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_large_scenes_repeat_small_ones(lines, monkeypatch):
    from benchmarks import scenes

    small, small_map = scenes.make_image(100)
    monkeypatch.setattr(scenes, "SCENE", 100)
    image, instance_map = scenes.make_image(150)
    assert image.shape == (3, 150, 150)
    assert (image[:, :100, :100] == small).all()
    assert (image[:, 100:, 100:] == small[:, :50, :50]).all()
    blocks = (slice(0, 100), slice(100, 150))
    ids = [np.unique(instance_map[rows, columns]) for rows in blocks for columns in blocks]
    assert len(np.unique(np.concatenate(ids))) - 1 == sum(len(each) - 1 for each in ids)
    assert instance_map.max() == sum(len(each) - 1 for each in ids)
    assert ((instance_map > 0) == (np.tile(small_map, (2, 2))[:150, :150] > 0)).all()


def test_windows_of_both_sides_give_the_same_maps(lines):
    # Where nothing is resized, even the resizing of both sides is the same.
    from benchmarks.plain_pipeline import predict_window_by_window
    from benchmarks.scenes import make_image
    from benchmarks.steps import build_selfsam

    keys = ("MODEL__SAM__INPUT_SIDE", "INPUT__NUCLEI__CROP", "INFERENCE__WINDOW")
    model = build_selfsam("vit_t", **dict.fromkeys(keys, 256)).eval()
    image = make_image(384)[0]
    settings = model.inference_settings
    settings.tile, settings.overlap = 0, 128
    ours = settings.predict_maps(model.predict_windows, image).numpy()
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    other = predict_window_by_window(model, pixels, 256, 128)
    assert ours.shape == other.shape
    assert abs(ours - other).max() < 1e-4 * abs(other).max()
