"""tools/predict.py as typed: a folder of images, a second start, errors in one line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.structures.label_maps import read_label_map

ROOT = Path(__file__).parents[2]
TINY = [
    *("MODEL.WEIGHTS", "", "MODEL.SAM.INPUT_SIDE", "128", "INPUT.NUCLEI.CROP", "64"),
    *("INFERENCE.WINDOW", "64", "INFERENCE.OVERLAP", "16", "INFERENCE.TILE", "0"),
    # Random weights are not sure of anything.
    *("POSTPROCESS.FOREGROUND_THRESHOLD", "0.5", "SEED", "1"),
]
SUFFIXES = (".csv", ".geojson", "_labels.png", "_overlay.png")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    cfg = load_config(str(ROOT / "configs" / "monuseg_vitt.yaml"), TINY)
    torch.manual_seed(0)
    torch.save({"model": SelfSAMTrainer.build_model(cfg).state_dict()}, folder / "model_final.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return str(folder / "model_final.pth")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two images and one that is cut off."""
    folder = tmp_path_factory.mktemp("images")
    for seed, name in enumerate("abc"):
        image, _ = make_synthetic_image(np.random.default_rng(seed), 96, 12)
        Image.fromarray(image).save(folder / f"{name}.png")
    broken = folder / "c.png"
    broken.write_bytes(broken.read_bytes()[:200])
    return folder


def predict(batches):
    """Exit status and stderr of each list of arguments."""
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "tools" / "run_commands.py", "tools/predict.py"],
        input=json.dumps(batches),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return json.loads(done.stdout)


def test_a_folder_as_typed(weights, images, tmp_path):
    given = ["--weights", weights, "--input"]
    out, none = tmp_path / "out", tmp_path / "none"
    folder, again, empty = predict(
        [
            [*given, str(images), "--microns-per-pixel", "0.5", "--output", str(out)],
            [*given, str(images / "[ab].png"), "--output", str(out), "--resume"],
            [
                *(*given, str(images / "a.png"), "--formats", "csv", "--device", "cpu"),
                *("--output", str(none), "POSTPROCESS.FOREGROUND_THRESHOLD", "1.0"),
            ],
        ]
    )
    assert folder[0] == 2, folder
    lines = folder[1].splitlines()
    assert len(lines) == 2, folder
    assert lines[0].startswith(f"{images / 'c.png'}: truncated")
    assert lines[1] == f"error: 1 of 3 images failed: {images / 'c.png'}"
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{stem}{suffix}" for stem in "ab" for suffix in SUFFIXES
    )
    nuclei = read_label_map(out / "a_labels.png").max()
    assert nuclei > 0
    header, *rows = (out / "a.csv").read_text().splitlines()
    assert "area_um2" in header
    assert len(rows) == nuclei
    assert len(json.loads((out / "a.geojson").read_text())["features"]) == nuclei
    assert again == [0, ""]
    assert empty == [0, ""]
    assert [path.name for path in none.iterdir()] == ["a.csv"]
    assert (none / "a.csv").read_text().count("\n") == 1


def test_errors_are_one_line_before_anything_is_written(images, tmp_path):
    out, slide = tmp_path / "out", tmp_path / "scan.svs"
    slide.write_bytes(b"")
    given = ["--weights", "no_such.pth", "--output", str(out), "--input", str(images / "a.png")]
    cases = {
        "--formats": [*given, "--formats", "svg"],
        "whole slide": [*given, str(slide)],
        "--microns-per-pixel": [*given, "--microns-per-pixel", "-1"],
        "not allowed with": [*given, "--overwrite", "--resume"],
        "no_such.pth": given,
    }
    for word, (status, stderr) in zip(cases, predict(list(cases.values())), strict=True):
        assert status == 2, (word, stderr)
        assert stderr.count("\n") == 1, stderr
        assert word in stderr
    assert not out.exists() or list(out.iterdir()) == []
