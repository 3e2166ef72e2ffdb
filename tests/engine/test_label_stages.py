"""Labels over a training, as it kept them and made again."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch

from selfsam_d2.engine.finished_run import read_run
from selfsam_d2.engine.label_history_hook import HISTORY_FOLDER
from selfsam_d2.engine.label_stages import MOST_STAGES, label_stages
from selfsam_d2.engine.trainer import SelfSAMTrainer


def train(cfg: Any) -> Any:
    """A training without tests and the folder as it is found afterwards."""
    cfg.DATASETS.TEST = ()
    torch.manual_seed(0)
    trainer = SelfSAMTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    with open(f"{cfg.OUTPUT_DIR}/config.yaml", "w", encoding="utf-8") as file:
        file.write(cfg.dump())
    return read_run(cfg.OUTPUT_DIR)


@pytest.fixture
def per_epoch(small_config: Any) -> int:
    return SelfSAMTrainer(small_config()).schedule.crops_per_epoch


def test_kept_labels_are_those_that_checkpoints_make_again(
    small_config: Any, per_epoch: int
) -> None:
    steps = ("SOLVER.MAX_ITER", str(2 * per_epoch), "SOLVER.CHECKPOINT_PERIOD", str(per_epoch))
    run = train(small_config(*steps, "SOLVER.CHECKPOINTS_KEPT", "0"))
    kept = label_stages(run, 2)
    assert [stage.title for stage in kept] == [
        "epoch 0, alpha = 1.00",
        "epoch 1, alpha = 0.50",
        "end, alpha = 0.50",
    ]
    assert len(label_stages(run, 3)[0].views) == 3  # more than are kept: made again
    shutil.rmtree(run.folder / HISTORY_FOLDER)
    again = label_stages(run, 2)
    assert [stage.title for stage in again] == [
        "epoch 0, alpha = 1.00",
        "epoch 1, alpha = 0.50",
    ]
    # S_P of epoch 0 is of the base masks alone, which change in no step; the last checkpoint is
    # the model at the end.
    for one, other in ((kept[0], again[0]), (kept[2], again[1])):
        for before, after in zip(one.views, other.views, strict=True):
            assert np.array_equal(before.image, after.image)
            assert np.array_equal(before.prompt_label, after.prompt_label)
        assert any((view.prompt_label > 0).any() for view in one.views)
    for before, after in zip(kept[2].views, again[1].views, strict=True):
        np.testing.assert_allclose(before.adapted, after.adapted, atol=1e-4)
    different = [
        (one.adapted != two.adapted).any()
        for one, two in zip(kept[0].views, kept[2].views, strict=True)
    ]
    assert any(different)  # a crop without points has no mask


def test_of_many_moments_six_are_shown(small_config: Any) -> None:
    keys = ("SOLVER.MAX_ITER", "15", "INPUT.NUCLEI.CROP", "128", "MODEL.SAM.INPUT_SIDE", "128")
    run = train(small_config(*keys, "SOLVER.CHECKPOINT_PERIOD", "100"))  # 2 crops per epoch
    titles = [stage.title.split(",")[0] for stage in label_stages(run, 1)]
    assert titles == [*(f"epoch {epoch}" for epoch in (0, 2, 3, 5, 6)), "end"]
    assert len(titles) == MOST_STAGES
