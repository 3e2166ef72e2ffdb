"""What a training goes on from: its batch, its loss scale."""

from types import SimpleNamespace

import pytest
import torch
from detectron2.engine import AMPTrainer, SimpleTrainer
from torch import nn

from selfsam_d2.engine.crop_trainer import CropTrainer
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import InputError


def trainer_of(cfg, *, resume=True):
    trainer = SelfSAMTrainer(cfg, resume=resume)
    trainer.resume_or_load(resume=resume)
    return trainer


def refusal(cfg):
    with pytest.raises(InputError) as caught:
        trainer_of(cfg)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def world(monkeypatch):
    """Function: the number of processes that the config is made for from now on."""

    def be(processes):
        scaled = SelfSAMTrainer.auto_scale_workers
        monkeypatch.setattr(
            SelfSAMTrainer.__base__.__base__,
            "auto_scale_workers",
            staticmethod(lambda cfg, count: scaled(cfg, processes)),
        )

    return be


def test_another_batch_is_refused(small_config, tmp_path):
    begun = ("SOLVER.MAX_ITER", "4", "SOLVER.IMS_PER_BATCH", "2")
    trainer_of(small_config(*begun), resume=False).train()
    line = refusal(small_config("SOLVER.MAX_ITER", "8"))
    assert line == (
        f"SOLVER.IMS_PER_BATCH 1: the training in {tmp_path / 'run'} was begun with 2, in which "
        "its steps are counted; set it to 2, or begin anew in another OUTPUT_DIR"
    )
    again = trainer_of(small_config(*begun, "SOLVER.MAX_ITER", "8"))
    assert (again.start_iter, again.sampler.start) == (4, 8)


def test_a_batch_that_grows_with_the_processes_is_refused_for_others(small_config, world):
    keys = ("SOLVER.MAX_ITER", "4", "SOLVER.REFERENCE_WORLD_SIZE", "1")
    trainer_of(small_config(*keys), resume=False).train()
    assert trainer_of(small_config(*keys)).start_iter == 4
    world(2)
    assert "SOLVER.IMS_PER_BATCH 2: " in (line := refusal(small_config(*keys)))
    assert "as many processes as before" in line
    assert "SOLVER.IMS_PER_BATCH 1 SOLVER.REFERENCE_WORLD_SIZE 0" in line
    assert trainer_of(small_config("SOLVER.MAX_ITER", "8")).sampler.start == 4


def test_a_checkpoint_without_a_batch_is_of_an_earlier_version(small_config, tmp_path):
    trainer_of(small_config("SOLVER.MAX_ITER", "4"), resume=False).train()
    path = tmp_path / "run" / "model_final.pth"
    content = torch.load(path, weights_only=True)
    del content["trainer"]["ims_per_batch"]
    torch.save(content, path)
    again = trainer_of(small_config("SOLVER.MAX_ITER", "8", "SOLVER.IMS_PER_BATCH", "2"))
    assert again.start_iter == 4


def crop_trainer(scaler=None):
    """One without data, in half precision if it has a scaler."""
    trainer = object.__new__(CropTrainer)
    solver = SimpleNamespace(IMS_PER_BATCH=1, REFERENCE_WORLD_SIZE=0)
    trainer.cfg = SimpleNamespace(SOLVER=solver, OUTPUT_DIR="run")
    trainer._hooks, trainer.iter = [], 6
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    if scaler is None:
        trainer._trainer = SimpleTrainer(model, [], optimizer)
    else:
        trainer._trainer = AMPTrainer(model, [], optimizer, grad_scaler=scaler)
    trainer._trainer.iter = 6
    return trainer


def scaler_of(scale=2.0**16, *, enabled=True):
    return torch.amp.GradScaler("cpu", init_scale=scale, enabled=enabled)


@pytest.mark.parametrize(
    ("before", "expected"),
    [(None, 2**16), (scaler_of(enabled=False), 2**16), (scaler_of(4.0), 4)],
    ids=["full precision", "a scaler that does nothing", "half precision"],
)
def test_half_precision_takes_a_run_over(before, expected):
    state = crop_trainer(before).state_dict()
    trainer = crop_trainer(scaler_of())
    trainer.load_state_dict(state)
    assert trainer._trainer.grad_scaler.get_scale() == expected
    assert trainer._trainer.iter == trainer.iter == 6


def test_full_precision_takes_a_run_over():
    trainer = crop_trainer()
    state = crop_trainer(scaler_of(4.0)).state_dict()
    assert "grad_scaler" in state["_trainer"]
    trainer.load_state_dict(state)
    assert trainer._trainer.iter == 6
