"""The best model stays the best, also over a resume."""

from types import SimpleNamespace

import pytest

from selfsam_d2.engine.best_model_hook import BestModelHook


class Checkpointer:
    def __init__(self):
        self.saved = []

    def save(self, name, **extra):
        self.saved.append((name, extra["iteration"]))


def build(values, max_iter=100):
    """A hook whose trainer evaluates to values[step]."""
    hook = BestModelHook(10, Checkpointer(), "nuclei/AJI")
    trainer = SimpleNamespace(iter=0, max_iter=max_iter, storage=SimpleNamespace())
    hook.trainer = trainer

    def run(start, end):
        for step in range(start, end):
            trainer.iter = step
            seen = {at: value for at, value in values.items() if at <= step}
            at = max(seen, default=None)
            latest = {} if at is None else {"nuclei/AJI": (seen[at], at)}
            trainer.storage.latest = lambda latest=latest: latest
            hook.after_step()

    return hook, run


def test_only_better_models_are_saved():
    hook, run = build({9: 0.3, 19: 0.2, 29: 0.4, 39: 0.4, 49: float("nan")})
    run(0, 60)
    assert hook.checkpointer.saved == [("model_best", 9), ("model_best", 29)]
    assert hook.best == 0.4


def test_the_last_evaluation_counts_and_only_after_a_whole_training():
    hook, run = build({9: 0.3, 19: 0.5}, max_iter=20)
    run(0, 20)
    assert hook.checkpointer.saved == [("model_best", 9)]
    hook.trainer.iter = 15
    hook.after_train()
    assert len(hook.checkpointer.saved) == 1
    hook.trainer.iter = 19
    hook.after_train()
    assert hook.checkpointer.saved[-1] == ("model_best", 19)


@pytest.mark.parametrize(("value", "saved"), [(0.35, 0), (0.45, 1)])
def test_a_resumed_run_knows_the_best(value, saved):
    first, run = build({9: 0.4})
    run(0, 10)
    second, run = build({19: value})
    second.load_state_dict(first.state_dict())
    run(10, 20)
    assert len(second.checkpointer.saved) == saved


def test_a_missing_metric_is_said(caplog):
    _, run = build({})
    run(0, 10)
    assert "nuclei/AJI was not evaluated" in caplog.text
