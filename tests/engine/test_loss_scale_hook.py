"""Training in half precision: the loss scale is watched. The scaler is PyTorch's own, on a CPU."""

from types import SimpleNamespace

import pytest
import torch
from detectron2.engine import AMPTrainer, SimpleTrainer

from selfsam_d2.engine.loss_scale_hook import LossScaleHook
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import InputError, NonFiniteLossError


@pytest.fixture
def step():
    """Function: factor of a loss -> a step of a scaled training, the hook behind it."""
    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.01)
    scaler = torch.amp.GradScaler("cpu")
    hook = LossScaleHook(SimpleNamespace(grad_scaler=scaler))
    hook.trainer = SimpleNamespace(iter=-1)

    def run(factor):
        hook.trainer.iter += 1
        optimizer.zero_grad()
        scaler.scale((weight * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        hook.after_step()
        return weight.item()

    return run


def test_some_overflows_are_as_usual(step):
    assert step(float("inf")) == 1
    for _ in range(5):
        assert step(1e38) == 1  # fits at a scale below 4
    assert step(1.0) == pytest.approx(0.99)


def test_a_training_that_only_overflows_is_stopped_and_says_what_helps(step):
    for _ in range(16):
        step(float("inf"))
    line = r"^step 17: .*fell to 0\.5; set SOLVER.AMP.PRECISION bfloat16 or .*--resume$"
    with pytest.raises(NonFiniteLossError, match=line):
        step(float("inf"))


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_the_config_says_the_precision(small_config, precision):
    cfg = small_config("SOLVER.AMP.PRECISION", precision)
    cfg.SOLVER.AMP.ENABLED = True
    trainer = SelfSAMTrainer(cfg)
    assert isinstance(trainer._trainer, AMPTrainer)
    assert trainer._trainer.precision == getattr(torch, precision)
    assert isinstance(trainer._hooks[0], LossScaleHook)
    assert trainer._hooks[0].amp is trainer._trainer
    cfg.SOLVER.AMP.ENABLED = False
    trainer = SelfSAMTrainer(cfg)
    assert type(trainer._trainer) is SimpleTrainer
    assert not any(isinstance(hook, LossScaleHook) for hook in trainer._hooks)


def test_another_precision_is_refused(small_config):
    with pytest.raises(InputError, match=r"^SOLVER.AMP.PRECISION 'half': .*float16, bfloat16"):
        SelfSAMTrainer(small_config("SOLVER.AMP.PRECISION", "half"))
