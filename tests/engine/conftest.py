"""A made dataset and a small training configuration."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.setup import load_config

TIMEOUT = 900  # s; processes that wait for each other do so for ever
SCRIPT = Path(__file__).parent / "killable_training.py"
CONFIG = str(Path(__file__).parents[2] / "configs" / "demo.yaml")
SMALL = [
    *("MODEL.SAM.INPUT_SIDE", "64", "INPUT.NUCLEI.CROP", "64", "SOLVER.IMS_PER_BATCH", "1"),
    *("INFERENCE.WINDOW", "64", "INFERENCE.OVERLAP", "16", "DATALOADER.NUM_WORKERS", "0"),
    *(
        "SOLVER.CHECKPOINT_PERIOD",
        "4",
        "TEST.EVAL_PERIOD",
        "0",
        "PSEUDO_LABEL.CONSENSUS_START",
        "1",
    ),
]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Two training images with points only, one validation image with masks."""
    folder = tmp_path_factory.mktemp("synthetic")
    return write_synthetic_dataset(folder, seed=0, train=2, val=1, size=128)


@pytest.fixture(scope="session")
def small_keys():
    """KEY VALUE pairs of a training of seconds."""
    return SMALL


@pytest.fixture
def small_config(dataset, tmp_path):
    """Function: extra KEY VALUE pairs -> a config that trains in seconds."""
    names = {}
    for split in ("train", "val"):
        names[split] = f"{split}_{tmp_path.parent.name}_{tmp_path.name}"
        register_nuclei_instances(names[split], dataset[split].json_file, dataset[split].image_root)

    def build(*pairs):
        cfg = load_config(CONFIG, [*SMALL, *pairs])
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (names["train"],), (names["val"],)
        if "OUTPUT_DIR" not in pairs:
            cfg.OUTPUT_DIR = str(tmp_path / "run")
        return cfg

    return build


@pytest.fixture
def read_log():
    """Function: OUTPUT_DIR -> rows of metrics.json by iteration (the last of each)."""

    def read(folder):
        rows = (Path(folder) / "metrics.json").read_text().splitlines()
        return {row["iteration"]: row for row in map(json.loads, rows)}

    return read


@pytest.fixture
def train(dataset):
    """Function: OUTPUT_DIR, KEY VALUE pairs -> a training that ended, perhaps by a signal."""

    def run(
        output,
        *pairs,
        processes=1,
        resume="fresh",
        kill_at=-1,
        number=signal.SIGKILL,
        train_images=dataset["train"].image_root,
    ):
        val = dataset["val"]
        files = [dataset["train"].json_file, train_images, val.json_file, val.image_root]
        command = [sys.executable, SCRIPT, processes, output, *files, resume, kill_at, int(number)]
        arguments = [str(part) for part in (*command, *pairs)]
        # In a group of its own, all of which a signal may be sent to.
        return subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            timeout=TIMEOUT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )

    return run


@pytest.fixture
def losses():
    """Function: OUTPUT_DIR of ``train`` -> losses by step."""

    def read(output):
        rows = [json.loads(row) for row in (output / "losses.jsonl").read_text().splitlines()]
        return {row.pop("iteration"): row for row in rows}

    return read


@pytest.fixture
def gloo_threads():
    """Function: OUTPUT_DIR of ``train`` -> for each process that ended by itself, its last ones."""

    def read(output):
        files = sorted(output.glob("threads_*.json"))
        return [[name for name in json.loads(file.read_text()) if "gloo" in name] for file in files]

    return read
