"""On real tissue: hard negatives are found in training and move the prototype.

The image is scikit-image's section of colon (haematoxylin and DAB); each local maximum of the
haematoxylin channel stands for a point that somebody set.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.data import immunohistochemistry
from skimage.feature import peak_local_max

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer

CONFIG = str(Path(__file__).parents[2] / "configs" / "demo.yaml")
KEYS = [
    *("MODEL.SAM.INPUT_SIDE", "128", "INPUT.NUCLEI.CROP", "96", "INFERENCE.WINDOW", "96"),
    *("DATALOADER.NUM_WORKERS", "0"),
    *("SOLVER.MAX_ITER", "40", "SOLVER.CHECKPOINT_PERIOD", "1000", "SOLVER.BASE_LR", "0.0001"),
]


@pytest.fixture
def tissue(tmp_path):
    image = immunohistochemistry()[:256, :256]
    stain = ndimage.gaussian_filter(rgb2hed(image)[..., 0], 3)
    peaks = peak_local_max(stain, min_distance=6, threshold_rel=0.5)
    assert len(peaks) > 30
    Image.fromarray(image).save(tmp_path / "colon.png")
    points = [
        {"id": n, "image_id": 1, "category_id": 1, "point": [x + 0.5, y + 0.5]}
        for n, (y, x) in enumerate(peaks.tolist(), start=1)
    ]
    entry = {"id": 1, "file_name": "colon.png", "height": 256, "width": 256}
    (tmp_path / "points.json").write_text(json.dumps({"images": [entry], "annotations": points}))
    name = f"colon_{tmp_path.name}"
    register_nuclei_instances(name, tmp_path / "points.json", tmp_path)
    return name


def test_hard_negatives_are_found_and_move_the_prototype(tissue, tmp_path):
    cfg = load_config(CONFIG, [*KEYS, "OUTPUT_DIR", str(tmp_path / "run")])
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (tissue,), ()
    trainer = SelfSAMTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    model = trainer.model.train()
    found = []
    for position in range(8):
        losses = model([trainer.mapper(trainer.schedule[position])])
        model.zero_grad()
        losses["loss_contrast"].backward()
        gradient = float(model.contrast_head.prototype.grad.norm())
        found.append((losses["loss_contrast"].item(), gradient))
    # The loss is zero where, and only where, no background was hard.
    assert all((loss > 0) == (gradient > 0) for loss, gradient in found)
    assert np.mean([loss > 0 for loss, _ in found]) > 0.5
