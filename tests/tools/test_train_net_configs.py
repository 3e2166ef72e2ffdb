"""``tools/train_net.py --config-file configs/consep_vith.yaml`` as typed, on a made CoNSeP."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

ROOT = Path(__file__).parents[2]
PREPARE = ROOT / "datasets" / "prepare_consep.py"
RUN_COMMANDS = Path(__file__).with_name("run_commands.py")
SIDE = 64
SMALL = (
    *("MODEL.SAM.INPUT_SIDE", SIDE, "INPUT.NUCLEI.CROP", SIDE, "INFERENCE.WINDOW", SIDE),
    *("INFERENCE.OVERLAP", 16, "DATALOADER.NUM_WORKERS", 0, "SOLVER.MAX_ITER", 2),
)
# SAM's own weights are not at hand. The masks and B of random ones are near 0.5 everywhere. With
# these keys a disc around each point is its nucleus and all else is background, to the contrast
# hard background; B disagrees there, so that the consensus ignores it.
RANDOM_WEIGHTS = (
    *("MODEL.WEIGHTS", "", "PSEUDO_LABEL.ENTROPY_THRESHOLD", 9, "PSEUDO_LABEL.MASK_THRESHOLD", 0),
    *("PSEUDO_LABEL.VORONOI", True, "PSEUDO_LABEL.MAX_RADIUS", 0.5),
    *("MODEL.CONTRAST.FOREGROUND_THRESHOLD", 0),
)
LOSSES = {"loss_prompt", "loss_foreground", "loss_distance", "loss_contrast"}
# Nothing listens there, so that no weights come over the network on any machine.
NO_NETWORK = {
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9"),
    "no_proxy": "",
}
GIGABYTE = 1 << 20  # in kB, the unit of ru_maxrss


# Linux counts the memory of the process that forked as the child's: it must be a small one.
SMALL_PARENT = """
import os, subprocess, sys
process = subprocess.Popen([sys.executable, *sys.argv[2:]])
_, status, usage = os.wait4(process.pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def measured(arguments, folder, given="", **variables):
    """(exit status, stdout, stderr, most memory in kB) of Python in a process of its own."""
    folder.mkdir(exist_ok=True)
    memory = folder / "memory"
    files = [folder / name for name in ("stdin", "stdout", "stderr")]
    files[0].write_text(given)
    with files[0].open() as stdin, files[1].open("w") as stdout, files[2].open("w") as stderr:
        process = subprocess.run(
            [sys.executable, "-c", SMALL_PARENT, str(memory), *map(str, arguments)],
            check=False,
            cwd=ROOT,
            env={**os.environ, **NO_NETWORK, **variables},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
    said = (path.read_text() for path in files[1:])
    return process.returncode, *said, int(memory.read_text())


def typed(name, folder):
    return ("tools/train_net.py", "--config-file", f"configs/{name}.yaml", "OUTPUT_DIR", folder)


@pytest.fixture(scope="module")
def consep(tmp_path_factory):
    """$DETECTRON2_DATASETS with two images to train on and one to test, made as a user makes it."""
    folder, root = tmp_path_factory.mktemp("CoNSeP"), tmp_path_factory.mktemp("datasets")
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    batches = []
    for split, count in (("train", 2), ("test", 1)):
        images, labels = (folder / split.capitalize() / kind for kind in ("Images", "Labels"))
        images.mkdir(parents=True)
        labels.mkdir()
        for number in range(1, count + 1):
            ids = np.zeros((SIDE, SIDE))
            for nucleus, (y, x) in enumerate([(12, 15), (30, 44), (50, 20)], start=1):
                ids[(rows - y) ** 2 + (columns - x) ** 2 < 60] = nucleus
            pixels = rng.integers(0, 40, (SIDE, SIDE, 4)) + np.where(ids > 0, 90, 200)[..., None]
            name = f"{split}_{number}"
            Image.fromarray(pixels.astype(np.uint8)).save(images / f"{name}.png")
            savemat(labels / f"{name}.mat", {"inst_map": ids, "type_map": (ids > 0) * 1.0})
        given = ("--split", split, "--images", images, "--labels", labels, "--output", root)
        points_only = ["--points-only"] * (split == "train")
        batches.append([*map(str, given), "--any-images", *points_only])
    done = subprocess.run(
        [sys.executable, str(RUN_COMMANDS), str(PREPARE)],
        input=json.dumps(batches),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert json.loads(done.stdout) == [[0, ""], [0, ""]]
    return root


def test_without_the_dataset_it_says_what_makes_it(tmp_path):
    status, _, stderr, _ = measured(
        typed("consep_vith", tmp_path / "out"), tmp_path, DETECTRON2_DATASETS=str(tmp_path)
    )
    assert status == 2
    assert stderr.count("\n") == 1
    assert stderr.startswith(f"error: {tmp_path}/consep/annotations/consep_train.json: dataset")
    assert "run: python datasets/prepare_consep.py " in stderr
    assert f" --split train --output {tmp_path}" in stderr


def test_without_the_weights_it_says_what_gets_them(tmp_path, consep):
    script, *arguments = map(str, typed("consep_vith", tmp_path / "out"))
    batches = [arguments, ["--resume", *arguments], ["--eval-only", *arguments]]
    status, stdout, stderr, memory = measured(
        (RUN_COMMANDS, script),
        tmp_path,
        json.dumps(batches),
        DETECTRON2_DATASETS=str(consep),
        SELFSAM_CACHE=str(tmp_path / "cache"),
    )
    assert (status, stderr) == (0, "")
    for status, line in json.loads(stdout):
        assert status == 2
        assert line.count("\n") == 1
        assert line.startswith("error: sam_vit_h: the weights cannot be had (")
        assert "download sam_vit_h_4b8939.pth by hand and run tools/fetch_weights.py" in line
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    assert memory < 1.5 * GIGABYTE  # said before the model, of 2.5 GB, is built


@pytest.mark.parametrize("name", ["consep_vitt", "consep_vitb", "consep_vitl", "consep_vith"])
def test_two_steps_and_an_evaluation(tmp_path, consep, name):
    weights = () if name == "consep_vitt" else RANDOM_WEIGHTS
    command = (*typed(name, tmp_path / "out"), *SMALL, *weights)
    try:
        status, stdout, stderr, memory = measured(
            command, tmp_path, DETECTRON2_DATASETS=str(consep)
        )
        assert status == 0, stderr
        assert "2 images, 2 crops per epoch, 2 steps" in stdout
        assert (tmp_path / "out" / "model_final.pth").is_file()
        rows = map(json.loads, (tmp_path / "out" / "metrics.json").read_text().splitlines())
        (row,) = (row for row in rows if "total_loss" in row)
        assert row["iteration"] == 1  # the second and last step
        losses = {name: value for name, value in row.items() if name.startswith("loss_")}
        assert set(losses) == LOSSES
        assert all(0 <= value < math.inf for value in losses.values())
        # The configs of vit_t have neither consensus nor contrast.
        of_the_paper = name != "consep_vitt"
        silent = set() if of_the_paper else {"loss_contrast"}
        assert {name for name, value in losses.items() if value == 0} == silent
        ignored = row["labels/instance_ignored"] - row["labels/prompt_ignored"]
        assert (ignored > 0) == of_the_paper
        metrics = json.loads((tmp_path / "out" / "inference" / "nuclei_metrics.json").read_text())
        assert set(metrics["mean"]) >= {"Dice", "AJI", "PQ"}
        assert memory < 8 * GIGABYTE
    finally:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)  # gigabytes
