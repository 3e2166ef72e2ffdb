"""What many tests share: a model with random weights, slides with nuclei planted on seams."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.outputs.prediction import NucleiPrediction
from tests.slides.svs import write_svs

CONFIG = Path(__file__).parents[1] / "configs" / "monuseg_vitt.yaml"
TINY = [
    *("MODEL.WEIGHTS", "", "MODEL.SAM.INPUT_SIDE", "128", "INPUT.NUCLEI.CROP", "64"),
    *("INFERENCE.WINDOW", "64", "INFERENCE.OVERLAP", "16", "INFERENCE.TILE", "0"),
    # Random weights are not sure of anything.
    *("POSTPROCESS.FOREGROUND_THRESHOLD", "0.5", "SEED", "1"),
    *("INPUT.NUCLEI.MICRONS_PER_PIXEL", "0"),  # tests say it where they want it known
]
TISSUE, NUCLEUS = (230, 190, 215), (90, 50, 140)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a training with random weights, small enough for a CPU: read it only."""
    folder = tmp_path_factory.mktemp("tiny_run")
    cfg = load_config(str(CONFIG), TINY)
    torch.manual_seed(0)
    torch.save({"model": SelfSAMTrainer.build_model(cfg).state_dict()}, folder / "model_final.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return folder


class Finder:
    """A predictor: what is dark and connected is a nucleus. It counts what it was given."""

    fingerprint = "finder"

    def __init__(self, microns_per_pixel: float | None = None, stop_at: int = -1) -> None:
        self.microns_per_pixel = microns_per_pixel
        self.stop_at = stop_at
        self.seen: list[tuple[int, ...]] = []

    def __call__(
        self, image: Any, *, name: str = "", microns_per_pixel: float | None = None
    ) -> NucleiPrediction:
        if len(self.seen) == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append(image.shape)
        labels, count = ndimage.label(image[..., 0] < 150)
        scores = ndimage.mean(1 - image[..., 0] / 255, labels, np.arange(1, count + 1))
        return NucleiPrediction(
            image=image,
            instance_map=labels.astype(np.int32),
            scores=np.asarray(scores, dtype=np.float32).reshape(-1),
            foreground=(labels > 0).astype(np.float32),
            name=name,
            microns_per_pixel=microns_per_pixel,
        )


@pytest.fixture(scope="session")
def finder() -> type[Finder]:
    return Finder


def plant(
    width: int, height: int, centres: list[tuple[int, int]], radius: int = 5
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Nuclei on tissue, none touching another, the later ones left out where they would."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = TISSUE
    rows, columns = np.indices((height, width))
    taken = np.zeros((height, width), dtype=bool)
    for number, (x, y) in enumerate(centres):
        tall, wide = radius - number % 3, radius - number % 2
        distance = ((columns - x) / wide) ** 2 + ((rows - y) / tall) ** 2
        if not (taken & (distance <= 4)).any():
            image[distance <= 1] = np.array(NUCLEUS) + number % 40
            taken |= distance <= 1
    return image


@pytest.fixture(scope="session")
def planted() -> Callable[..., Any]:
    return plant


@pytest.fixture(scope="session")
def svs() -> Callable[..., Path]:
    return write_svs


@pytest.fixture(autouse=True)
def no_handlers_left():
    """Detectron2 adds one that keeps the stdout of its test, which is closed behind it."""
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore", "selfsam_d2")]
    before = [each.handlers[:] for each in loggers]
    yield
    for each, handlers in zip(loggers, before, strict=True):
        each.handlers[:] = handlers
