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


@pytest.fixture(scope="module")
def done(weights, images, tmp_path_factory):
    """Folder of outputs; name of a command -> its exit status and stderr."""
    folder = tmp_path_factory.mktemp("done")
    slide = folder / "scan.svs"
    slide.write_bytes(b"")
    given = ["--weights", weights, "--input"]
    out, wrong = str(folder / "out"), str(folder / "wrong")
    bad = ["--weights", "no_such.pth", "--output", wrong, "--input", str(images / "a.png")]
    commands = {
        "folder": [*given, str(images), "--microns-per-pixel", "0.5", "--output", out],
        "again": [*given, str(images / "[ab].png"), "--output", out, "--resume"],
        "overrides": [
            *(*given, str(images / "a.png"), "--formats", "csv", "--device", "cpu", "--output"),
            *(str(folder / "none"), "POSTPROCESS.FOREGROUND_THRESHOLD", "1.0"),
        ],
        "--formats": [*bad, "--formats", "svg"],
        "whole slide": [*bad, str(slide)],
        "--microns-per-pixel": [*bad, "--microns-per-pixel", "-1"],
        "not allowed with": [*bad, "--overwrite", "--resume"],
        "no_such.pth": bad,
    }
    process = subprocess.run(
        [sys.executable, ROOT / "tests" / "tools" / "run_commands.py", "tools/predict.py"],
        input=json.dumps(list(commands.values())),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return folder, dict(zip(commands, json.loads(process.stdout), strict=True))


def test_a_folder_is_predicted_and_what_is_broken_named(done, images):
    folder, results = done
    out = folder / "out"
    status, stderr = results["folder"]
    assert status == 2, stderr
    lines = stderr.splitlines()
    assert len(lines) == 2, stderr
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
    assert results["again"] == [0, ""]


def test_keys_behind_the_output_override_the_config(done):
    folder, results = done
    assert results["overrides"] == [0, ""]
    assert [path.name for path in (folder / "none").iterdir()] == ["a.csv"]
    assert (folder / "none" / "a.csv").read_text().count("\n") == 1


@pytest.mark.parametrize(
    "word", ["--formats", "whole slide", "--microns-per-pixel", "not allowed with", "no_such.pth"]
)
def test_errors_are_one_line_and_nothing_is_written(word, done):
    folder, results = done
    status, stderr = results[word]
    assert status == 2, stderr
    assert stderr.count("\n") == 1, stderr
    assert word in stderr
    assert not list(folder.glob("wrong/*"))
