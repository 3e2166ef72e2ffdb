"""SIGTERM and Ctrl+C in a process that trains: when it is saved, and when it is left."""

import os
import signal
import threading

import pytest
from detectron2.engine import hooks
from detectron2.utils.env import seed_all_rng

from selfsam_d2.engine import base_cache_hook, self_refine_hook
from selfsam_d2.engine.crop_trainer import build_schedule
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


class LossList(hooks.HookBase):
    """Total loss by step."""

    def __init__(self):
        self.rows = {}

    def after_step(self):
        self.rows[self.trainer.iter] = self.trainer.storage.latest()["total_loss"][0]


def losses_of(cfg, *, resume=False):
    """Losses by step of a training, and the status that it left with."""
    seed_all_rng(0)  # the head starts from random weights
    trainer = SelfSAMTrainer(cfg, resume=resume)
    trainer.resume_or_load(resume=resume)
    log = LossList()
    trainer.register_hooks([log])
    try:
        trainer.train()
    except SystemExit as stop:
        return log.rows, stop.code
    return log.rows, 0


@pytest.fixture
def asked_in(monkeypatch):
    """Function: module, function in it, call from 0 -> list of calls; SIGTERM comes in that one."""

    def patch(module, name, when):
        calls = []
        original = getattr(module, name)

        def asked(*arguments, **options):
            calls.append(name)
            if len(calls) == when + 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, asked)
        return calls

    return patch


def test_a_refresh_is_left_at_once_and_made_again(small_config, tmp_path, asked_in):
    keys = ("SELF_REFINE.REFRESH", "epoch", "SOLVER.BASE_LR", "0.003")
    per_epoch = build_schedule(small_config(*keys)).crops_per_epoch
    keys = (
        *keys,
        "SELF_REFINE.HISTORY_CROPS",
        "0",
        "SOLVER.MAX_ITER",
        str(per_epoch + 2),
        "SOLVER.CHECKPOINT_PERIOD",
        "1000",
    )
    expected, status = losses_of(small_config(*keys, "OUTPUT_DIR", str(tmp_path / "whole")))
    assert status == 0
    calls = asked_in(self_refine_hook, "label_image", 3)  # the second epoch's second image
    before, status = losses_of(small_config(*keys))
    assert status == STOPPED
    assert len(calls) == 4
    assert sorted(before) == list(range(per_epoch))
    last = f"model_{per_epoch - 1:07d}.pth"
    assert (tmp_path / "run" / "last_checkpoint").read_text() == last
    after, status = losses_of(small_config(*keys), resume=True)
    assert status == 0
    assert len(calls) == 6  # those of the epoch that was left are made again, no others
    assert {**before, **after} == expected
    assert len(set(expected.values())) == per_epoch + 2


@pytest.mark.parametrize(
    ("module", "name", "keys"),
    [
        (base_cache_hook, "predict_base_masks", ("SELF_REFINE.BASE_CACHE", "True")),
        (self_refine_hook, "label_image", ("SELF_REFINE.REFRESH", "epoch")),
    ],
    ids=["base cache", "labels"],
)
def test_before_the_first_step_nothing_is_saved(
    small_config, tmp_path, asked_in, module, name, keys
):
    calls = asked_in(module, name, 0)
    rows, status = losses_of(small_config(*keys, "SOLVER.MAX_ITER", "9"))
    assert (rows, status) == ({}, STOPPED)
    assert len(calls) == 1
    assert not list((tmp_path / "run").glob("*.pth"))
    rows, status = losses_of(small_config(*keys, "SOLVER.MAX_ITER", "2"), resume=True)
    assert (sorted(rows), status) == ([0, 1], 0)


def test_labels_that_are_made_again_at_a_start_are_left_at_once(small_config, tmp_path, asked_in):
    keys = ("SELF_REFINE.REFRESH", "epoch", "SOLVER.CHECKPOINT_PERIOD", "2")
    losses_of(small_config(*keys, "SOLVER.MAX_ITER", "2"))
    (tmp_path / "run" / "labels" / "epoch_00000" / "complete").unlink()
    (checkpoint,) = (tmp_path / "run").glob("model_0*.pth")
    saved = checkpoint.stat().st_mtime_ns
    calls = asked_in(self_refine_hook, "label_image", 0)
    assert losses_of(small_config(*keys, "SOLVER.MAX_ITER", "4"), resume=True) == ({}, STOPPED)
    assert len(calls) == 1
    assert checkpoint.stat().st_mtime_ns == saved
    rows, status = losses_of(small_config(*keys, "SOLVER.MAX_ITER", "4"), resume=True)
    assert (sorted(rows), status) == ([2, 3], 0)


def test_another_process_waits_until_the_main_one_has_saved(small_config, monkeypatch):
    trainer = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "3"))
    trainer.resume_or_load(resume=False)
    trainer.register_hooks([AskToStop("after", 1, (PASSED_ON,))])
    with monkeypatch.context() as patch:
        patch.setattr("selfsam_d2.engine.stop_hook.comm.is_main_process", lambda: False)
        with pytest.raises(SystemExit) as stop:
            trainer.train()
    assert stop.value.code == STOPPED
    assert trainer.iter == 2  # they leave behind the next step at the latest


def test_it_comes_behind_the_checkpoints_and_before_the_evaluation(small_config):
    order = [type(hook) for hook in SelfSAMTrainer(small_config())._hooks]
    place = order.index(StopHook)
    assert order.index(hooks.PeriodicCheckpointer) < place < order.index(hooks.EvalHook)
    assert order.index(self_refine_hook.SelfRefineHook) < place


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
