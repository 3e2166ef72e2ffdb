"""tools/train_net.py as typed: training, resuming, evaluating, and every bad input."""

import json
import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selfsam_d2.data.synthetic import write_synthetic_dataset

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "tools" / "train_net.py")
CONFIG = str(ROOT / "configs" / "demo.yaml")
SMALL = (
    *("MODEL.SAM.INPUT_SIDE", "64", "INPUT.NUCLEI.CROP", "64", "INFERENCE.WINDOW", "64"),
    *("INFERENCE.OVERLAP", "16", "DATALOADER.NUM_WORKERS", "0", "SOLVER.MAX_ITER", "6"),
)

# Another architecture over the config of the demo.
STOCK = ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN")


def command(*arguments, **variables):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **variables},
        timeout=900,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), seed=1, train=1, val=1, size=96)


def registered(data):
    return [
        part
        for split in ("train", "val")
        for part in ("--register", f"my_{split}", data[split].json_file, data[split].image_root)
    ]


def check_what_is_said(stdout, folder):
    """By a training into a folder, on a console that is no terminal."""
    # Pages of settings are in the file; no terminal, no colours.
    assert len(stdout.splitlines()) < 80
    assert re.search(r"Running with full config: \(\d\d\d more lines in log.txt\)", stdout)
    log = (folder / "log.txt").read_text()
    assert "CUDNN_BENCHMARK: false" in log
    assert "\x1b" not in stdout + log
    final = folder / "model_final.pth"
    assert f"Finished: the model is {final}" in stdout
    assert f"tools/predict.py --weights {final} " in stdout


def test_train_resume_and_evaluate(data, tmp_path):
    given = (
        *("--config-file", CONFIG, *registered(data)),
        *("DATASETS.TRAIN", "('my_train',)", "DATASETS.TEST", "('my_val',)"),
        *("OUTPUT_DIR", tmp_path / "run", *SMALL, "SOLVER.CHECKPOINT_PERIOD", "6"),
    )
    trained = command(*given)
    assert trained.returncode == 0, trained.stderr
    assert "Traceback" not in trained.stderr
    if not torch.cuda.is_available():
        assert "Device: cpu" in trained.stdout
    assert "eta:" in trained.stdout
    check_what_is_said(trained.stdout, tmp_path / "run")

    config = (tmp_path / "run" / "config.yaml").read_bytes()
    second = command(*given, "SOLVER.MAX_ITER", "3")
    assert second.returncode == 2
    assert second.stderr == (
        f"error: {tmp_path / 'run'}: holds a training (model_final.pth); --resume goes on with it, "
        "another OUTPUT_DIR begins anew\n"
    )
    assert (tmp_path / "run" / "config.yaml").read_bytes() == config
    first = (tmp_path / "run" / "inference" / "nuclei_metrics.json").read_text()
    assert set(json.loads(first)["mean"]) >= {"Dice", "AJI", "AJI_plus", "AJI_fast", "PQ", "F1"}

    # The weights that the run started from are not needed any more.
    gone = ("MODEL.WEIGHTS", tmp_path / "gone.pth")
    resumed = command("--resume", *given, *gone, "SOLVER.MAX_ITER", "7")
    assert resumed.returncode == 0, resumed.stderr
    assert "Starting training from iteration 6" in resumed.stdout
    assert "were done before" not in resumed.stdout
    once_more = command("--resume", *given, *gone, "SOLVER.MAX_ITER", "7")
    assert once_more.returncode == 0, once_more.stderr
    assert "all 7 steps of this training were done before" in once_more.stdout

    weights = ("MODEL.WEIGHTS", tmp_path / "run" / "model_final.pth")
    again = command("--eval-only", *given, *weights, "OUTPUT_DIR", tmp_path / "evaluated")
    assert again.returncode == 0, again.stderr
    written = tmp_path / "evaluated" / "inference" / "nuclei_metrics.json"
    resumed_metrics = (tmp_path / "run" / "inference" / "nuclei_metrics.json").read_text()
    assert written.read_text() == resumed_metrics

    dice = json.loads(resumed_metrics)["mean"]["Dice"]
    evaluate = ("--eval-only", *given, *weights, "OUTPUT_DIR", tmp_path / "evaluated")
    expected = f"[['nuclei', 'Dice', {dice + 0.05}, 0.04]]"
    surprised = command(*evaluate, "TEST.EXPECTED_RESULTS", expected)
    assert surprised.returncode == 2
    assert surprised.stderr.splitlines()[-1].startswith("error: TEST.EXPECTED_RESULTS: nuclei/Dice")


def test_two_machines_train_and_evaluate_together(data, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    given = (
        *("--config-file", CONFIG, *registered(data), "--num-machines", "2"),
        *("--dist-url", address, "DATASETS.TRAIN", "('my_train',)"),
        *("DATASETS.TEST", "('my_val',)", *SMALL, "SOLVER.IMS_PER_BATCH", "2"),
        *("SOLVER.MAX_ITER", "2", "OUTPUT_DIR", tmp_path),
    )

    def start(rank):
        return command("--machine-rank", rank, *given, CUDA_VISIBLE_DEVICES="")

    with ThreadPoolExecutor() as pool:
        machines = list(pool.map(start, range(2)))
    for machine in machines:
        assert machine.returncode == 0, machine.stderr[-2000:]
    assert "2 processes" in machines[0].stdout
    assert machines[1].stdout == ""  # the second process has log.txt.rank1
    metrics = json.loads((tmp_path / "inference" / "nuclei_metrics.json").read_text())
    assert len(metrics["images"]) == 1
    assert "Starting training" in (tmp_path / "log.txt.rank1").read_text()


def test_the_config_as_typed_says_how_to_make_its_dataset(tmp_path):
    done = command(
        *("--config-file", ROOT / "configs" / "monuseg_vitt.yaml", "OUTPUT_DIR", tmp_path),
        DETECTRON2_DATASETS=str(tmp_path),
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "python datasets/prepare_monuseg.py" in done.stderr


class Bad:
    """Makes files that cannot be used, each in a folder of its own."""

    def __init__(self, data, folder):
        self.source = data["train"]
        self.folder = folder
        self.output = ["OUTPUT_DIR", str(folder / "out")]

    def arguments(self, name, json_file, image_root, *keys):
        return [
            *("--config-file", CONFIG, "--register", name, str(json_file), str(image_root)),
            *("DATASETS.TRAIN", f"('{name}',)", "DATASETS.TEST", "()"),
            *(*self.output, *SMALL, *keys),
        ]

    def with_image(self, name, write):
        folder = self.folder / name
        folder.mkdir()
        coco = json.loads(self.source.json_file.read_text())
        write(folder / coco["images"][0]["file_name"])
        return self.arguments(name, self.source.json_file, folder)

    def with_json(self, name, change):
        coco = json.loads(self.source.json_file.read_text())
        change(coco)
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(coco))
        return self.arguments(name, path, self.source.image_root)

    def truncated(self, path):
        (original,) = self.source.image_root.glob("*.png")
        path.write_bytes(original.read_bytes()[:3000])

    def weights(self, name, content):
        path = self.folder / f"{name}.pth"
        torch.save(content, path)
        source = self.source
        return self.arguments(name, source.json_file, source.image_root, "MODEL.WEIGHTS", str(path))


def bad_inputs(data, folder):
    """Name -> (arguments, what the one line must contain)."""
    bad = Bad(data, folder)
    source = data["train"]
    side = 96
    grey16 = Image.fromarray(np.zeros((side, side), np.uint16))
    return {
        "no config": (["--config-file", "none.yaml"], ["none.yaml"]),
        "unknown key": (["--config-file", CONFIG, "MODEL.NO_KEY", "1"], ["MODEL.NO_KEY"]),
        "unknown option": (["--config-file", CONFIG, "--registre", "a"], ["--registre"]),
        "unknown dataset": (
            # Not into the folder of the config, which `make demo` would not use any more.
            ["--config-file", CONFIG, "DATASETS.TRAIN", "('nowhere',)", *bad.output],
            ["nowhere", "--register"],
        ),
        "no folder": (
            bad.arguments("folder", source.json_file, folder / "missing"),
            ["missing", "no such folder"],
        ),
        "no points": (
            bad.with_json("empty", lambda coco: coco.update(annotations=[])),
            ["empty.json", "no points"],
        ),
        "point outside": (
            bad.with_json("out", lambda coco: coco["annotations"][0].update(point=[96, 3])),
            ["out.json", "(96, 3)", "outside"],
        ),
        "16-bit image": (bad.with_image("deep", grey16.save), ["deep", "16-bit"]),
        "grey image": (
            bad.with_image("grey", lambda path: Image.new("L", (side, side)).save(path)),
            ["grey", ".png"],
        ),
        "truncated PNG": (bad.with_image("cut", bad.truncated), ["cut", "truncated"]),
        "no weights": (
            bad.arguments("gone", source.json_file, source.image_root, "MODEL.WEIGHTS", "gone.pth"),
            ["gone.pth"],
        ),
        "wrong weights": (
            bad.weights("wrong", {"model": {"conv1.weight": torch.zeros(3)}}),
            ["wrong.pth", "another architecture", "is missing"],
        ),
        "points for a Mask R-CNN": (
            [*bad.arguments("bare", source.json_file, source.image_root, *STOCK)],
            [".png", "without a mask", "tools/export_pseudo_labels.py"],
        ),
        "damaged weights": (bad.weights("odd", {"model": {"a": "text"}}), ["odd.pth"]),
    }


def bad_companies(data, folder):
    """The same for numbers of processes and machines."""
    bad = Bad(data, folder)
    source = data["train"]
    return {
        "batch for three": (
            ["--num-gpus", "3", *bad.arguments("three", source.json_file, source.image_root)],
            ["SOLVER.IMS_PER_BATCH 1", "multiple", "3"],
        ),
        "no process": (["--config-file", CONFIG, "--num-gpus", "0"], ["--num-gpus 0"]),
        "nowhere to meet": (
            ["--config-file", CONFIG, "--num-machines", "2"],
            ["--dist-url", "tcp://ADDRESS:PORT"],
        ),
    }


@pytest.fixture(scope="module")
def answers(data, tmp_path_factory):
    """Name -> (exit status, stderr, what it must contain) of all bad inputs."""
    folder = tmp_path_factory.mktemp("bad")
    cases = bad_inputs(data, folder) | bad_companies(data, folder)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("run_commands.py")), SCRIPT],
        input=json.dumps([arguments for arguments, _ in cases.values()]),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    results = json.loads(done.stdout)
    return {
        name: (*result, expected)
        for (name, (_, expected)), result in zip(cases.items(), results, strict=True)
    }


NAMES = (
    *("no config", "unknown key", "unknown option", "unknown dataset", "no folder", "no points"),
    *("point outside", "16-bit image", "grey image", "truncated PNG", "no weights"),
    *("wrong weights", "points for a Mask R-CNN", "damaged weights", "batch for three"),
    *("no process", "nowhere to meet"),
)


def test_every_bad_input_is_tried(answers):
    assert tuple(answers) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_one_line_and_status_2(answers, name):
    status, stderr, expected = answers[name]
    assert status == 2
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    for part in expected:
        assert part in stderr
