"""The first three steps of one config of each family, small and with random weights.

``python -m tests.golden.families`` writes first_steps.json anew, after a change that is meant to
change them.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from detectron2.engine import HookBase

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.architectures import learns_from_points
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer_choice import trainer_class

CONFIGS = Path(__file__).parents[2] / "configs"
GOLDEN = Path(__file__).with_name("first_steps.json")
SMALL = (
    *("MODEL.SAM.INPUT_SIDE", "128", "INPUT.NUCLEI.CROP", "64", "DATALOADER.NUM_WORKERS", "0"),
    *("SOLVER.IMS_PER_BATCH", "1", "SOLVER.MAX_ITER", "3", "SOLVER.WARMUP_ITERS", "1"),
    *("TEST.EVAL_PERIOD", "0", "INFERENCE.WINDOW", "64", "INFERENCE.OVERLAP", "16", "SEED", "1"),
    *("MODEL.WEIGHTS", "", "DATASETS.TEST", "()"),
)
# With random weights masks and B are near 0.5: a disc around each point is its nucleus, all else
# background, and every loss acts.
SURE = (
    *("PSEUDO_LABEL.ENTROPY_THRESHOLD", "9", "PSEUDO_LABEL.MASK_THRESHOLD", "0"),
    *("PSEUDO_LABEL.VORONOI", "True", "PSEUDO_LABEL.MAX_RADIUS", "0.5"),
    *("MODEL.CONTRAST.FOREGROUND_THRESHOLD", "0"),
)
# Name -> config below configs/, KEY VALUE pairs.
FAMILIES = {
    "vit_t": ("monuseg_vitt", ("PSEUDO_LABEL.REPROMPT_START", "1")),
    "vit_t, shift 8": ("tnbc_vitt_shift8", ("PSEUDO_LABEL.REPROMPT_START", "1")),
    "the paper's": ("cpm17_vitb", SURE),
    "the paper's, refreshed per epoch": (
        "demo",
        ("SELF_REFINE.REFRESH", "epoch", "PSEUDO_LABEL.CONSENSUS_START", "1", *SURE),
    ),
    "static": ("ablations/tnbc_vitt_static", ()),
    "Voronoi": ("ablations/monuseg_vitt_voronoi", ()),
    "Mask R-CNN": ("mask_rcnn_sam_adapter_vitt_fpn", ()),
    "RetinaNet": ("retinanet_sam_adapter_vitt_fpn", ()),
    "semantic": ("semantic_sam_adapter_vitt_fpn", ()),
    "ResNet": ("nuclei_head_R50_fpn", ()),
    "ViTDet": ("nuclei_head_vitdet", ()),
}


class Losses(HookBase):
    """Keeps the losses of each step."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def after_step(self) -> None:
        latest = self.trainer.storage.latest()
        names = sorted(name for name in latest if "loss" in name)
        self.rows.append({name: latest[name][0] for name in names})


def first_steps(family: str, folder: Path) -> list[dict[str, float]]:
    """Losses by name, of three steps; an epoch of a model that learns from points has two.

    Args:
        family: of :data:`FAMILIES`.
        folder: of its output; its datasets are registered by its name.
    """
    config, pairs = FAMILIES[family]
    cfg = load_config(str(CONFIGS / f"{config}.yaml"), [*SMALL, *pairs])
    data = write_synthetic_dataset(folder / "data", seed=3, train=1, val=1, size=96)
    # The training split has points only.
    split = data["train" if learns_from_points(cfg) else "val"]
    register_nuclei_instances(str(folder), split.json_file, split.image_root)
    cfg.DATASETS.TRAIN, cfg.OUTPUT_DIR = (str(folder),), str(folder / "run")
    torch.manual_seed(0)
    trainer = trainer_class(cfg)(cfg)
    trainer.resume_or_load(resume=False)
    losses = Losses()
    trainer.register_hooks([losses])
    trainer.train()
    return losses.rows


def main() -> None:
    """Write the losses of all families."""
    golden = {}
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            golden[family] = first_steps(family, Path(folder))
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
