"""The trainer as a whole: what it trains on, its hooks, its log, its checkpoints."""

import json
import logging
from logging.handlers import BufferingHandler

import numpy as np
import pytest
import torch
from detectron2.engine import hooks

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.best_model_hook import BestModelHook
from selfsam_d2.engine.self_refine_hook import SelfRefineHook
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import InputError

LOSSES = ("loss_prompt", "loss_foreground", "loss_distance", "loss_contrast", "total_loss")


def run(cfg):
    trainer = SelfSAMTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return trainer


class LossLog(hooks.HookBase):
    def __init__(self):
        self.rows = []

    def after_step(self):
        latest = self.trainer.storage.latest()
        self.rows.append({name: latest[name][0] for name in LOSSES})


def losses_on(cfg, json_file, image_root, name):
    register_nuclei_instances(name, json_file, image_root)
    cfg.DATASETS.TRAIN = (name,)
    torch.manual_seed(0)
    trainer = SelfSAMTrainer(cfg)
    trainer.resume_or_load(resume=False)
    log = LossLog()
    trainer.register_hooks([log])
    trainer.train()
    return log.rows


def test_masks_never_reach_the_loss(small_config, tmp_path):
    data = write_synthetic_dataset(tmp_path / "data", seed=3, train=1, val=1, size=128)
    # The validation split has masks; its twin holds the same points and nothing else.
    with_masks = json.loads(data["val"].json_file.read_text())
    assert all(each["segmentation"] for each in with_masks["annotations"])
    twin = tmp_path / "points.json"
    keys = ("id", "image_id", "category_id", "point")
    bare = [{key: each[key] for key in keys} for each in with_masks["annotations"]]
    twin.write_text(json.dumps({**with_masks, "annotations": bare}))
    found = [
        losses_on(
            small_config(
                *("SOLVER.MAX_ITER", "5", "OUTPUT_DIR", str(tmp_path / name)),
                *("INPUT.NUCLEI.SHIFT", "4.0"),
            ),
            json_file,
            data["val"].image_root,
            f"{name}_{tmp_path.name}",
        )
        for name, json_file in (("masks", data["val"].json_file), ("points", twin))
    ]
    assert len(found[0]) == 5
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]


def test_the_refine_hook_comes_before_the_checkpointer(small_config):
    built = SelfSAMTrainer(small_config("TEST.EVAL_PERIOD", "2"))._hooks
    order = [type(hook) for hook in built]
    assert order.index(SelfRefineHook) < order.index(hooks.PeriodicCheckpointer)
    assert order.index(hooks.EvalHook) < order.index(BestModelHook)
    assert order.count(SelfRefineHook) == 1


def test_a_run_leaves_its_log_metrics_and_best_model(small_config, read_log, tmp_path):
    run(
        small_config(
            *("SOLVER.MAX_ITER", "6", "TEST.EVAL_PERIOD", "3", "SOLVER.CHECKPOINT_PERIOD", "100"),
            *("SOLVER.BASE_LR", "0.001"),
        )
    )
    folder = tmp_path / "run"
    names = {path.name for path in folder.iterdir()}
    assert {"model_final.pth", "model_best.pth", "metrics.json", "last_checkpoint"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any(name.endswith(".part") for name in names)
    rows = read_log(folder)
    logged = {name for row in rows.values() for name in row}
    last = rows[max(rows)]
    assert {"labels/prompt_ignored", "labels/recovered", "labels/empty_prompts", "alpha"} <= logged
    assert "nuclei/AJI" in last
    metrics = json.loads((folder / "inference" / "nuclei_metrics.json").read_text())
    assert set(metrics) >= {"mean", "images"}
    assert metrics["mean"]["AJI"] == pytest.approx(last["nuclei/AJI"])


def test_the_head_may_learn_at_a_rate_of_its_own(small_config):
    cfg = small_config("SOLVER.HEAD_LR_FACTOR", "0.25")
    trainer = SelfSAMTrainer(cfg)
    names = {id(each): name for name, each in trainer.model.named_parameters()}
    rates = {
        names[id(parameter)]: group["lr"]
        for group in trainer._trainer.optimizer.param_groups
        for parameter in group["params"]
    }
    for name, rate in rates.items():
        factor = 0.25 if name.startswith(("nuclei_head.", "contrast_head.")) else 1
        assert rate == pytest.approx(factor * cfg.SOLVER.BASE_LR)
    assert len(set(rates.values())) == 2


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        (("SOLVER.OPTIMIZER", "SGD"), "SOLVER.OPTIMIZER 'SGD'"),
        (("MODEL.SAM.ENCODER", "vit_x"), "MODEL.SAM.ENCODER 'vit_x'"),
    ],
)
def test_unknown_choices_are_named(small_config, keys, named):
    with pytest.raises(InputError, match=named):
        SelfSAMTrainer(small_config(*keys))


def test_the_learning_rate_follows_the_closed_cosine_per_epoch(small_config):
    cfg = small_config("SOLVER.MAX_ITER", "40", "SOLVER.COSINE_T_MAX", "2")
    trainer = SelfSAMTrainer(cfg)
    per_epoch = trainer.schedule.crops_per_epoch
    factor = trainer.scheduler.lr_lambdas[0]
    found = [factor(step) for step in range(0, 5 * per_epoch, per_epoch)]
    low = cfg.SOLVER.MIN_LR / cfg.SOLVER.BASE_LR
    assert np.allclose(found, [1, (1 + low) / 2, low, (1 + low) / 2, 1])
    assert factor(per_epoch - 1) == 1


def test_a_new_run_in_a_used_folder_is_not_resumed_from_the_old_one(small_config, tmp_path):
    run(small_config("SOLVER.MAX_ITER", "4"))
    assert (tmp_path / "run" / "last_checkpoint").exists()

    class Stop(hooks.HookBase):
        def after_step(self):
            raise KeyboardInterrupt

    trainer = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "4"))
    trainer.resume_or_load(resume=False)
    trainer.register_hooks([Stop()])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    resumed = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "4"))
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 0


def plan_of(cfg, caplog, monkeypatch):
    """Records that are logged before the training, whatever a test before did to the logger."""
    log = logging.getLogger("selfsam_d2")
    listener = BufferingHandler(10_000)
    monkeypatch.setattr(log, "handlers", [listener])
    caplog.set_level(logging.INFO, logger=log.name)
    SelfSAMTrainer(cfg)
    return listener.buffer


def test_losses_that_the_label_maker_has_no_use_for_are_named(small_config, caplog, monkeypatch):
    def named(*keys):
        records = plan_of(small_config(*keys), caplog, monkeypatch)
        return [text for text in (each.getMessage() for each in records) if "LOSS" in text]

    static = ("PSEUDO_LABEL.NAME", "StaticSAMLabels")
    assert named(*static) == [
        "MODEL.LOSS.CONTRAST_WEIGHT 1.0 counts as 0: StaticSAMLabels has no such loss"
    ]
    assert named(*static, "MODEL.LOSS.CONTRAST_WEIGHT", "0") == named() == []


def test_what_the_steps_of_a_run_leave_out_is_named(small_config, caplog, monkeypatch):
    reprompt = ("PSEUDO_LABEL.REPROMPT", "True", "PSEUDO_LABEL.REPROMPT_START", "2")

    def warnings(steps):
        records = plan_of(
            small_config(*reprompt, "SOLVER.MAX_ITER", str(steps)), caplog, monkeypatch
        )
        return [each.getMessage() for each in records if each.levelname == "WARNING"]

    crops = SelfSAMTrainer(small_config()).schedule.crops_per_epoch
    assert warnings(2 * crops + 1) == []
    (only,) = warnings(2 * crops)
    assert only.startswith("PSEUDO_LABEL.REPROMPT_START 2: beyond the last epoch, 1 ")
    consensus, _ = warnings(crops)
    assert consensus.startswith("PSEUDO_LABEL.CONSENSUS_START 1: beyond the last epoch, 0 ")
