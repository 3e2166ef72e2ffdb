"""tools/evaluate_otsu.py as typed."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsam_d2.data.synthetic import make_synthetic_image

SCRIPT = Path(__file__).parents[2] / "tools" / "evaluate_otsu.py"


@pytest.fixture
def run(run_here, tmp_path):
    """Status, stdout and stderr."""
    return partial(
        *(run_here, SCRIPT, "--images", tmp_path / "images", "--labels", tmp_path / "labels")
    )


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    image, true = make_synthetic_image(np.random.default_rng(0), 128, 12)
    Image.fromarray(image).save(tmp_path / "images" / "a.png")
    Image.fromarray(true.astype(np.uint16)).save(tmp_path / "labels" / "a.png")
    return tmp_path


def test_the_table_has_a_row_for_each_image(run, folder):
    status, out, _ = run()
    assert status == 0
    rows = [line for line in out.splitlines() if line.startswith(("a ", "mean of 1"))]
    assert [row.split()[-9:] for row in rows] == [rows[0].split()[-9:]] * 2
    assert 0 < float(rows[0].split()[2]) < 1


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (
            lambda at: (at / "labels" / "a.png").rename(at / "labels" / "b.png"),
            "a.png: has no label",
        ),
        (
            lambda at: Image.fromarray(np.zeros((9, 9), np.uint8)).save(at / "labels" / "a.png"),
            "a.png: is of another size than",
        ),
        (lambda at: (at / "images" / "a.png").write_bytes(b"no image"), "a.png"),
        (
            lambda at: Image.fromarray(np.zeros((9, 9), np.uint16)).save(at / "images" / "a.png"),
            "a.png",
        ),
        (lambda at: (at / "images" / "a.png").unlink(), "images"),
    ],
    ids=["no label", "size", "corrupt", "16 bits", "empty"],
)
def test_what_cannot_be_scored_is_one_line(run, folder, spoil, problem):
    spoil(folder)
    status, out, err = run()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert problem in err
