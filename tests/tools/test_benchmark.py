"""The benchmark: both sides give the same, and what it writes is what it measured."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(autouse=True)
def tools_on_path(monkeypatch):
    # As Python puts the folder of a script there.
    monkeypatch.syspath_prepend(str(TOOLS))


@pytest.fixture
def run(run_here):
    return partial(run_here, TOOLS / "benchmark.py")


@pytest.fixture
def measure(tools_on_path):
    from benchmarks import measure

    return measure


def test_both_sides_agree_and_the_json_has_their_ratio(run, tmp_path):
    path = tmp_path / "out" / "benchmark.json"
    status, out, err = run("--only", "postprocess", "metrics", "--repeats", 1, "--json", path)
    assert status == 0, err
    assert "post-processing, 1000²" in out
    written = json.loads(path.read_text())
    assert set(written["ratios"]) == {"postprocess_time", "metrics_time"}
    for key, ratio in written["ratios"].items():
        line = written["lines"][key]
        assert ratio == line["ours"] / line["other"] > 0
    assert written["absolute"] == {}
    assert written["environment"]["threads"] >= 1
    assert written["environment"]["versions"]["segment-anything"] == "1.0"
    post_processing = written["lines"]["postprocess_time"]["raw"]
    assert post_processing["nuclei"] > 900
    metrics = written["lines"]["metrics_time"]["raw"]
    assert min(metrics["nuclei"]) > 900


def test_a_part_that_fails_takes_nothing_from_the_others(run, tmp_path, monkeypatch):
    from benchmarks import lines

    def fail(repeats):
        raise MemoryError

    path = tmp_path / "benchmark.json"
    monkeypatch.setitem(lines.LINES, "attention", fail)
    status, out, err = run("--only", "metrics", "attention", "--repeats", 1, "--json", path)
    assert status == 2
    assert "error: attention failed: MemoryError" in err
    assert "all metrics" in out
    written = json.loads(path.read_text())
    assert written["ratios"]["metrics_time"] > 0
    assert written["failed"] == {"attention": "MemoryError"}


@pytest.mark.parametrize("name", [".", "file/x.json"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(run, tmp_path, name):
    (tmp_path / "file").write_text("kept")
    status, out, err = run("--only", "metrics", "--json", tmp_path / name)
    assert status == 2
    assert not out
    assert err.startswith(f"error: {tmp_path / name}: ")
    assert (tmp_path / "file").read_text() == "kept"


def test_maps_that_differ_are_told_apart(tools_on_path):
    from benchmarks.lines import check_same, differing_pixels

    first = np.zeros((8, 8), dtype=np.int32)
    first[:4, :4] = 7
    renumbered = np.where(first, 3, 0)
    split = renumbered.copy()
    split[:4, 2:4] = 9
    assert differing_pixels(first, renumbered) == 0
    assert differing_pixels(first, split) == differing_pixels(split, first) == 8
    check_same("x", 0.1, 0.1)
    with pytest.raises(RuntimeError, match="x: both sides"):
        check_same("x", 0.2, 0.1)


@pytest.fixture
def steps(tools_on_path):
    from benchmarks import steps

    return steps


def test_blocks_of_segment_anything_give_the_same_embedding(steps):
    model = steps.build_selfsam("vit_b", MODEL__SAM__INPUT_SIDE=64)
    for block in model.backbone.encoder.blocks:
        torch.nn.init.normal_(block.attn.rel_pos_h)
    images = torch.randn(1, 3, 64, 64)
    expected = model.backbone(images)["image_embedding"]
    blocks = list(model.backbone.encoder.blocks)
    steps.use_segment_anything_blocks(model)
    assert all(
        type(new).__module__.startswith("segment_anything.") and new is not old
        for new, old in zip(model.backbone.encoder.blocks, blocks, strict=True)
    )
    assert torch.allclose(model.backbone(images)["image_embedding"], expected, atol=1e-4)


def test_a_step_with_stored_masks_has_the_same_losses(steps):
    # Each step raises if one of the four losses has nothing to act on.
    keys = {"MODEL__SAM__INPUT_SIDE": 128}
    cached, online = (
        steps.prepare_step("vit_t", 5, False, stored, keys)() for stored in (True, False)
    )
    assert cached == pytest.approx(online, rel=1e-5)


def test_memory_is_that_of_the_process_measured(measure):
    taken = bytearray(300 * 2**20)
    run = measure.in_own_process(partial, eval, "len(bytearray(200 * 2**20))")
    assert run["result"] == 200 * 2**20
    assert 0.2 < run["added_gb"] < 0.3
    assert run["added_gb"] < run["peak_gb"]
    del taken
    with pytest.raises(RuntimeError, match=r"partial.* ended with status 3"):
        measure.in_own_process(partial, exec, "import os; os._exit(3)")


def test_both_are_run_in_turns(measure):
    order = []
    timing = measure.interleave(lambda: order.append("a"), lambda: order.append("b"), 2)
    assert order == ["a", "b"] * 3  # once to warm up
    assert len(timing.ours) == len(timing.other) == 2


def test_bad_arguments_are_one_line(run):
    for arguments, text in ((["--repeats", 0], "--repeats 0: "), (["--only", "magic"], "magic")):
        status, _, err = run(*arguments)
        assert status == 2
        assert text in err
        assert err.count("\n") == 1
