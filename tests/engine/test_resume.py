"""kill -9 in mid-training, then resume: the same losses as a run never stopped."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "killable_training.py"


def train(output, dataset, *pairs, resume="fresh", kill_at=-1):
    splits = [dataset[name] for name in ("train", "val")]
    files = [part for split in splits for part in (split.json_file, split.image_root)]
    command = [sys.executable, SCRIPT, output, *files, resume, kill_at, *pairs]
    arguments = [str(part) for part in command]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def losses(output):
    rows = [json.loads(row) for row in (output / "losses.jsonl").read_text().splitlines()]
    return {row.pop("iteration"): row for row in rows}


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
def test_a_killed_run_goes_on_as_if_never_stopped(dataset, small_keys, tmp_path, keys):
    pairs = (*small_keys, "SOLVER.MAX_ITER", "14", *keys)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = train(whole, dataset, *pairs)
    assert done.returncode == 0, done.stderr[-2000:]
    killed = train(broken, dataset, *pairs, kill_at=9)
    assert killed.returncode == -signal.SIGKILL
    assert (broken / "last_checkpoint").read_text() == "model_0000007.pth"
    (broken / "losses.jsonl").unlink()
    resumed = train(broken, dataset, *pairs, resume="resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    expected, found = losses(whole), losses(broken)
    assert sorted(found) == list(range(8, 14))
    assert {step: expected[step] for step in found} == found
    assert len({row["loss_prompt"] for row in expected.values()}) > 10
