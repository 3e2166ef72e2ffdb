"""tools/convert_weights.py: a pickle of a model zoo becomes weights, anything else one line."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from selfsam_d2.weights.resolve import read_checkpoint

TOOL = Path(__file__).parents[2] / "tools" / "convert_weights.py"
CONTENT = {"model": {"a": np.arange(3.0)}, "__author__": "x", "matching_heuristics": True}


@pytest.fixture
def zoo_file(tmp_path):
    path = tmp_path / "zoo.pkl"
    path.write_bytes(pickle.dumps(CONTENT))
    return path


def test_arrays_become_tensors(run_here, zoo_file, tmp_path):
    target = tmp_path / "zoo.pth"
    status, out, err = run_here(TOOL, zoo_file, "--output", target)
    assert (status, out, err) == (0, f"{target}: 1 tensors\n", "")
    read = read_checkpoint(target)
    assert read.pop("model")["a"].tolist() == [0, 1, 2]
    assert read == {"__author__": "x", "matching_heuristics": True}


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        (b"text", "zoo.pth", "is damaged or no pickle of weights"),
        (pickle.dumps(print), "zoo.pth", "zoo.pkl: refers to builtins.print"),
        (pickle.dumps(CONTENT), "zoo.pkl", "zoo.pkl: must end in .pth"),
        (pickle.dumps(CONTENT), "/proc/zoo.pth", "/proc"),
        (None, "zoo.pth", "zoo.pkl: cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    run_here, zoo_file, tmp_path, content, target, message
):
    zoo_file.unlink()
    if content is not None:
        zoo_file.write_bytes(content)
    status, out, err = run_here(TOOL, zoo_file, "--output", tmp_path / target)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["zoo.pkl"] * (content is not None)
    assert content is None or zoo_file.read_bytes() == content
