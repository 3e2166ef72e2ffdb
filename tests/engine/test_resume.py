"""kill -9 in mid-training, then resume: the same losses as a run never stopped."""

import signal

import pytest


@pytest.mark.parametrize(
    "keys",
    [
        ("SELF_REFINE.REFRESH", "step"),
        ("SELF_REFINE.REFRESH", "epoch"),
        # Data workers run ahead of a refresh; the evaluation after step 9 saves the best model,
        # which is nothing to go on from.
        (
            *("SELF_REFINE.REFRESH", "epoch", "DATALOADER.NUM_WORKERS", "1"),
            *("TEST.EVAL_PERIOD", "9"),
        ),
    ],
)
def test_a_killed_run_goes_on_as_if_never_stopped(train, losses, small_keys, tmp_path, keys):
    pairs = (*small_keys, "SOLVER.MAX_ITER", "14", *keys)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = train(whole, *pairs)
    assert done.returncode == 0, done.stderr[-2000:]
    killed = train(broken, *pairs, kill_at=9)
    assert killed.returncode == -signal.SIGKILL
    assert (broken / "last_checkpoint").read_text() == "model_0000007.pth"
    (broken / "losses.jsonl").unlink()
    resumed = train(broken, *pairs, resume="resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    expected, found = losses(whole), losses(broken)
    assert sorted(found) == list(range(8, 14))
    assert {step: expected[step] for step in found} == found
    assert len({row["loss_prompt"] for row in expected.values()}) > 10


def test_a_run_that_is_asked_to_stop_saves_its_step_and_goes_on_from_it(
    train, losses, small_keys, tmp_path
):
    pairs = (*small_keys, "SOLVER.MAX_ITER", "8", "DATALOADER.NUM_WORKERS", "2")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(whole, *pairs).returncode == 0
    stopped = train(broken, *pairs, kill_at=5, number=signal.SIGTERM)
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr[-2000:]
    assert "Traceback" not in stopped.stderr
    # Step 5 is done if its crop was there when the data workers ended.
    done = max(losses(broken))
    assert done in (4, 5)
    assert (broken / "last_checkpoint").read_text() == f"model_000000{done}.pth"
    resumed = train(broken, *pairs, resume="resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert losses(broken) == losses(whole)
    assert len(losses(whole)) == 8
