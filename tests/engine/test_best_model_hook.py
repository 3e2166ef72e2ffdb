"""The best model stays the best, also over a resume."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from selfsam_d2.engine.best_model_hook import BestModelHook
from selfsam_d2.engine.checkpoint import SelfSAMCheckpointer


class Checkpointer(SelfSAMCheckpointer):
    def __init__(self, folder):
        super().__init__(torch.nn.Linear(1, 1), str(folder))
        self.saved = []

    def save(self, name, **extra):
        super().save(name, **extra)
        self.saved.append((name, extra["iteration"]))


@pytest.fixture
def build(tmp_path):
    return partial(build_hook, tmp_path)


def build_hook(folder, values, max_iter=100):
    """A hook whose trainer evaluates to values[step]."""
    hook = BestModelHook(10, Checkpointer(folder), "nuclei/AJI")
    trainer = SimpleNamespace(iter=0, max_iter=max_iter, storage=SimpleNamespace())
    hook.trainer = trainer

    def run(start, end):
        trainer.start_iter = start
        hook.before_train()
        for step in range(start, end):
            trainer.iter = step
            seen = {at: value for at, value in values.items() if at <= step}
            at = max(seen, default=None)
            latest = {} if at is None else {"nuclei/AJI": (seen[at], at)}
            trainer.storage.latest = lambda latest=latest: latest
            hook.after_step()

    return hook, run


def test_only_better_models_are_saved(build):
    hook, run = build({9: 0.3, 19: 0.2, 29: 0.4, 39: 0.4, 49: float("nan")})
    run(0, 60)
    assert hook.checkpointer.saved == [("model_best", 9), ("model_best", 29)]
    assert hook.best == 0.4


def test_the_last_evaluation_counts_and_only_after_a_whole_training(build):
    hook, run = build({9: 0.3, 20: 0.5}, max_iter=20)
    run(0, 20)
    assert hook.checkpointer.saved == [("model_best", 9)]
    hook.trainer.iter = 15
    hook.after_train()
    assert len(hook.checkpointer.saved) == 1
    # The training loop counts once more at the end.
    run(20, 21)
    hook.after_train()
    assert hook.checkpointer.saved[-1] == ("model_best", 19)


@pytest.mark.parametrize(("value", "saved"), [(0.35, 0), (0.45, 1)])
def test_a_resumed_run_knows_the_best(build, value, saved):
    first, run = build({9: 0.4})
    run(0, 10)
    second, run = build({19: value})
    second.load_state_dict(first.state_dict())
    run(10, 20)
    assert len(second.checkpointer.saved) == saved


def test_a_new_run_does_not_compare_with_an_old_one(build):
    _, run = build({9: 0.4})
    run(0, 10)
    second, run = build({9: 0.2})
    run(0, 10)
    assert second.checkpointer.saved == [("model_best", 9)]


def test_a_resumed_run_does_not_compare_with_another_run_in_its_folder(build):
    _, run = build({9: 0.4})
    run(0, 10)
    second, run = build({19: 0.2})
    run(10, 20)
    assert second.checkpointer.saved == [("model_best", 19)]


def test_a_run_is_not_resumed_from_its_best_model(build):
    hook, run = build({9: 0.4})
    hook.checkpointer.save("model_0000004", iteration=4)
    run(0, 10)
    assert hook.checkpointer.get_checkpoint_file().endswith("model_0000004.pth")


def test_a_missing_metric_is_said(build, caplog):
    _, run = build({})
    run(0, 10)
    assert "nuclei/AJI was not evaluated" in caplog.text
