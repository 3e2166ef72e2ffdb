"""kill -9 in mid-training, then resume: the same losses as a run never stopped."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "killable_training.py"


def train(output, split, *pairs, resume="fresh", kill_at=-1):
    command = [
        *(sys.executable, SCRIPT, output, split.json_file, split.image_root, resume, kill_at),
        *pairs,
    ]
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )


def losses(output):
    rows = [json.loads(row) for row in (output / "losses.jsonl").read_text().splitlines()]
    return {row.pop("iteration"): row for row in rows}


@pytest.mark.parametrize("refresh", ["step", "epoch"])
def test_a_killed_run_goes_on_as_if_never_stopped(dataset, small_keys, tmp_path, refresh):
    pairs = (*small_keys, "SOLVER.MAX_ITER", "14", "SELF_REFINE.REFRESH", refresh)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = train(whole, dataset["train"], *pairs)
    assert done.returncode == 0, done.stderr[-2000:]
    killed = train(broken, dataset["train"], *pairs, kill_at=9)
    assert killed.returncode == -signal.SIGKILL
    assert (broken / "last_checkpoint").read_text() == "model_0000007.pth"
    (broken / "losses.jsonl").unlink()
    resumed = train(broken, dataset["train"], *pairs, resume="resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    expected, found = losses(whole), losses(broken)
    assert sorted(found) == list(range(8, 14))
    assert {step: expected[step] for step in found} == found
    assert len({row["loss_prompt"] for row in expected.values()}) > 10
