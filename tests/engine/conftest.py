"""A made dataset and a small training configuration."""

import json
from pathlib import Path

import pytest

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.setup import load_config

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
