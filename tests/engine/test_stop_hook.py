"""SIGTERM and Ctrl+C in a process that trains: when it is saved, and when it is left."""

import os
import signal
import threading

import pytest
from detectron2.engine import hooks

from selfsam_d2.engine.stop_hook import INTERRUPTED, PASSED_ON, STOPPED, StopHook
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import InputError


class AskToStop(hooks.HookBase):
    """Sends SIGTERM, or other signals, to this process at one moment of a step."""

    def __init__(self, moment, step, signals=(signal.SIGTERM,)):
        self.moment = moment
        self.step = step
        self.signals = signals

    def _ask(self, moment):
        if moment == self.moment and self.trainer.iter == self.step:
            for number in self.signals:
                os.kill(os.getpid(), number)

    def before_step(self):
        self._ask("before")

    def after_step(self):
        self._ask("after")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, STOPPED), (signal.SIGINT, INTERRUPTED)]
)
def test_the_step_at_hand_is_finished_and_saved(small_config, tmp_path, number, status):
    assert (STOPPED, INTERRUPTED) == (143, 130)
    trainer = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "9"))
    trainer.resume_or_load(resume=False)
    trainer.register_hooks([AskToStop("before", 2, (number,))])
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        trainer.train()
    assert stop.value.code == status
    assert trainer.iter == 2
    assert (tmp_path / "run" / "last_checkpoint").read_text() == "model_0000002.pth"
    assert signal.getsignal(number) == before
    again = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "9"), resume=True)
    again.resume_or_load(resume=True)
    assert again.start_iter == 3


@pytest.mark.parametrize(
    "signals",
    [(PASSED_ON,), (PASSED_ON, signal.SIGTERM), (signal.SIGTERM, PASSED_ON, PASSED_ON)],
    ids=["passed on", "passed on first", "passed on last"],
)
def test_a_wish_that_comes_in_two_ways_is_one(small_config, tmp_path, signals):
    trainer = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "9"))
    trainer.resume_or_load(resume=False)
    trainer.register_hooks([AskToStop("before", 2, signals)])
    before = signal.getsignal(PASSED_ON)
    with pytest.raises(SystemExit) as stop:
        trainer.train()
    assert stop.value.code == STOPPED
    assert (tmp_path / "run" / "last_checkpoint").read_text() == "model_0000002.pth"
    assert signal.getsignal(PASSED_ON) == before


def test_an_evaluation_is_left_at_once(small_config, tmp_path, monkeypatch):
    reached = []

    def evaluate(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append("its end")
        return {}

    trainer = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "9", "TEST.EVAL_PERIOD", "3"))
    trainer.resume_or_load(resume=False)
    monkeypatch.setattr(trainer, "test", evaluate)
    with pytest.raises(SystemExit) as stop:
        trainer.train()
    assert stop.value.code == STOPPED
    assert reached == []
    assert (tmp_path / "run" / "last_checkpoint").read_text() == "model_0000002.pth"


def test_it_comes_behind_the_checkpoints_and_before_the_evaluation(small_config):
    order = [type(hook) for hook in SelfSAMTrainer(small_config())._hooks]
    place = order.index(StopHook)
    assert order.index(hooks.PeriodicCheckpointer) < place < order.index(hooks.EvalHook)


def test_checkpoints_of_an_earlier_start_count(small_config, tmp_path):
    keys = ("SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.CHECKPOINTS_KEPT", "2")
    for last in ("4", "8"):
        trainer = SelfSAMTrainer(small_config(*keys, "SOLVER.MAX_ITER", last), resume=True)
        trainer.resume_or_load(resume=True)
        trainer.train()
    kept = sorted(path.name for path in (tmp_path / "run").glob("model_0*.pth"))
    assert kept == ["model_0000005.pth", "model_0000007.pth"]


def test_a_training_that_fails_before_its_first_step_says_why(small_config, monkeypatch):
    def fail():
        raise InputError("base masks", "damaged")

    trainer = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "3"))
    monkeypatch.setattr(trainer._hooks[0], "before_train", fail)
    with pytest.raises(InputError, match="base masks: damaged"):
        trainer.train()


def test_a_thread_may_train(small_config):
    trainer = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "2"))
    trainer.resume_or_load(resume=False)
    thread = threading.Thread(target=trainer.train)
    thread.start()
    thread.join()
    assert trainer.iter == 2


def test_a_step_whose_data_workers_are_gone_is_left_undone(small_config, tmp_path, monkeypatch):
    trainer = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "9"))
    trainer.resume_or_load(resume=False)
    batches = iter(trainer.batches.loader)

    def three():
        for _ in range(3):
            yield next(batches)
        if asked:
            os.kill(os.getpid(), signal.SIGTERM)
        raise ConnectionResetError("a worker ended")

    monkeypatch.setattr(trainer.batches, "loader", three())
    asked = True
    with pytest.raises(SystemExit) as stop:
        trainer.train()
    assert stop.value.code == STOPPED
    assert (tmp_path / "run" / "last_checkpoint").read_text() == "model_0000002.pth"
    again = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "9"), resume=True)
    again.resume_or_load(resume=True)
    assert again.start_iter == 3
    batches, asked = iter(again.batches.loader), False
    monkeypatch.setattr(again.batches, "loader", three())
    with pytest.raises(ConnectionResetError):
        again.train()
