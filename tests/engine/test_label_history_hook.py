"""Labels of the same crops, kept while a training goes on."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfsam_d2.data.schedule import CropSchedule
from selfsam_d2.engine.label_history_hook import HISTORY_FOLDER, LabelHistoryHook, history_files
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import InputError
from selfsam_d2.visualization.crop_view import CropView
from selfsam_d2.visualization.crop_view_files import load_views, save_views

FAST = ("SOLVER.CHECKPOINT_PERIOD", "1000", "TEST.COCO_AP", "False")


def train(cfg: Any, *, resume: bool = False) -> SelfSAMTrainer:
    torch.manual_seed(0)
    trainer = SelfSAMTrainer(cfg, resume=resume)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


@pytest.fixture
def keys(small_config: Any) -> tuple[str, ...]:
    """Of a training of three epochs and no evaluation."""
    per_epoch = SelfSAMTrainer(small_config()).schedule.crops_per_epoch
    return (*FAST, "SOLVER.MAX_ITER", str(3 * per_epoch))


def without_test(cfg: Any) -> Any:
    cfg.DATASETS.TEST = ()
    return cfg


def test_labels_of_the_same_crops_at_each_epoch_and_at_the_end(
    small_config: Any, keys: Any, tmp_path: Path
) -> None:
    train(without_test(small_config(*keys)))
    files = history_files(tmp_path / "run" / HISTORY_FOLDER)
    assert list(files) == ["epoch 0", "epoch 1", "epoch 2", "end"]
    stages = [load_views(path) for path in files.values()]
    for views in stages:
        assert len(views) == 2
        for view, first in zip(views, stages[0], strict=True):
            assert view.name == first.name
            assert np.array_equal(view.image, first.image)
            assert np.array_equal(view.points, first.points)
    assert [views[0].alpha for views in stages[:3]] == pytest.approx([1, 2 / 3, 1 / 3])
    for before, after in pairwise(stages):
        assert (before[0].foreground != after[0].foreground).any()


def test_a_training_is_the_same_with_and_without_it(
    small_config: Any, keys: Any, tmp_path: Path, read_log: Any
) -> None:
    rows = []
    for crops in ("0", "2"):
        output = tmp_path / crops
        more = ("SELF_REFINE.HISTORY_CROPS", crops, "OUTPUT_DIR", str(output))
        train(without_test(small_config(*keys, *more)))
        assert bool(history_files(output / HISTORY_FOLDER)) == (crops == "2")
        rows.append(read_log(output))
    losses = [[row["total_loss"] for row in each.values()] for each in rows]
    assert losses[0] == losses[1]


def test_a_resumed_training_keeps_what_is_there_and_a_new_one_begins_anew(
    small_config: Any, keys: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run" / HISTORY_FOLDER
    short = (*keys[:-1], str(int(keys[-1]) // 3))
    train(without_test(small_config(*short)))
    assert list(history_files(folder)) == ["epoch 0", "end"]
    first, end = (path.stat().st_mtime_ns for path in history_files(folder).values())
    train(without_test(small_config(*keys)), resume=True)
    assert list(history_files(folder)) == ["epoch 0", "epoch 1", "epoch 2", "end"]
    assert history_files(folder)["epoch 0"].stat().st_mtime_ns == first
    assert history_files(folder)["end"].stat().st_mtime_ns > end
    train(without_test(small_config(*short)))
    assert list(history_files(folder)) == ["epoch 0", "end"]
    assert history_files(folder)["epoch 0"].stat().st_mtime_ns > first


@pytest.mark.parametrize("epochs", [1, 2, 9, 10, 11, 100])
def test_of_many_epochs_ten_are_taken(epochs: int, tmp_path: Path) -> None:
    records = [{"file_name": "a", "height": 9, "width": 9}]
    hook = LabelHistoryHook(tmp_path, CropSchedule(records, 9, 0), epochs, lambda _: [])
    assert {0, epochs - 1} <= hook.moments <= set(range(epochs))
    assert len(hook.moments) == min(epochs, 10)
    gaps = np.diff(sorted(hook.moments))
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


@pytest.fixture
def view() -> CropView:
    draw = np.random.default_rng(0)
    return CropView(
        name="ä b",
        alpha=0.25,
        image=draw.integers(0, 256, (4, 4, 3), dtype=np.uint8),
        points=draw.random((2, 2), dtype=np.float32),
        base=draw.random((4, 4), dtype=np.float32),
        adapted=draw.random((4, 4), dtype=np.float32),
        prompt_label=draw.integers(-1, 3, (4, 4)),
        instance_label=draw.integers(-1, 3, (4, 4)),
        outside=draw.random((4, 4)) < 0.5,
        foreground=draw.random((4, 4), dtype=np.float32),
        instance_map=draw.integers(0, 9, (4, 4), dtype=np.int32),
    )


def test_views_come_back_as_they_were(view: CropView, tmp_path: Path) -> None:
    given = [replace(view, name=f"{number}", alpha=number / 8) for number in range(12)]
    save_views(given, tmp_path / "new" / "views.npz")
    found = load_views(tmp_path / "new" / "views.npz")
    assert len(found) == 12
    for one, other in zip(given, found, strict=True):
        for field in fields(CropView):
            before, after = getattr(one, field.name), getattr(other, field.name)
            assert type(before) is type(after)
            np.testing.assert_array_equal(before, after)
            assert getattr(before, "dtype", None) == getattr(after, "dtype", None)


@pytest.mark.parametrize("damage", ["cut", "key", "none", "missing"])
def test_damaged_files_are_one_line(damage: str, view: CropView, tmp_path: Path) -> None:
    path = tmp_path / "views.npz"
    save_views([view], path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "key":
        np.savez(path, **{"0.name": "a"})  # type: ignore[arg-type]
    elif damage == "none":
        path.write_bytes(b"")
    else:
        path.unlink()
    words = "cannot be read" if damage == "missing" else "damaged; remove it"
    with pytest.raises(InputError, match=rf"views\.npz: {words}"):
        load_views(path)


def test_once_per_epoch_and_without_a_mark_on_the_random_numbers(
    view: CropView, small_config: Any, tmp_path: Path
) -> None:
    cfg = without_test(small_config(*FAST, "SELF_REFINE.HISTORY_CROPS", "0"))
    trainer = SelfSAMTrainer(cfg)
    seen = []

    def look(model: Any) -> list[CropView]:
        seen.append((trainer.iter, model.training, torch.rand(1).item()))
        return [view]

    hook = LabelHistoryHook(tmp_path, trainer.schedule, 2, look)
    hook.trainer = trainer
    trainer.model.train()
    per_epoch = trainer.schedule.crops_per_epoch
    torch.manual_seed(0)
    for step in range(2 * per_epoch):
        trainer.iter = step
        hook.after_step()
    after = torch.rand(1).item()
    torch.manual_seed(0)
    assert after == torch.rand(1).item()
    assert [(step, training) for step, training, _ in seen] == [(0, False), (per_epoch, False)]
    assert trainer.model.training
