"""Every config of heads that learn from masks: trains, evaluates, resumes; what is refused."""

import json
import math
from pathlib import Path

import pytest
import torch
from detectron2.engine import HookBase

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.engine.architectures import best_metric
from selfsam_d2.engine.checks import check_config
from selfsam_d2.engine.data_checks import check_training
from selfsam_d2.engine.mask_trainer import MaskTrainer
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.engine.trainer_choice import trainer_class
from selfsam_d2.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs"
MASK_RCNN = "mask_rcnn_sam_adapter_vitt_fpn"
SMALL = [
    *("MODEL.SAM.INPUT_SIDE", "128", "INPUT.NUCLEI.CROP", "64", "DATALOADER.NUM_WORKERS", "0"),
    *("SOLVER.IMS_PER_BATCH", "1", "SOLVER.MAX_ITER", "2", "SOLVER.WARMUP_ITERS", "1"),
    *("TEST.EVAL_PERIOD", "0", "INFERENCE.WINDOW", "64", "INFERENCE.OVERLAP", "16"),
    *("MODEL.RPN.POST_NMS_TOPK_TEST", "100", "MODEL.WEIGHTS", ""),
]
NUCLEI = {"loss_foreground", "loss_distance"}
RCNN = {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
# Config -> its losses, the score of the best model, and what else is evaluated.
TRAINED = {
    MASK_RCNN: (RCNN, "nuclei/AJI", {"bbox/AP", "segm/AP", "nuclei/PQ"}),
    "retinanet_sam_adapter_vitt_fpn": ({"loss_cls", "loss_box_reg"}, "bbox/AP", {"bbox/AP50"}),
    # Detectron2 logs the total alone where there is one loss.
    "semantic_sam_adapter_vitt_fpn": (set(), "sem_seg/Dice", set()),
    "nuclei_head_R50_fpn": (NUCLEI, "nuclei/AJI", {"segm/AP", "nuclei/Dice"}),
    "nuclei_head_vitdet": (NUCLEI, "nuclei/AJI", {"segm/AP", "nuclei/Dice"}),
}


@pytest.fixture
def mask_config(dataset, tmp_path):
    """Function: name of a config, KEY VALUE pairs -> a training of seconds on the val split."""
    name = f"masks_{tmp_path.parent.name}_{tmp_path.name}"
    # The training split has points only.
    register_nuclei_instances(name, dataset["val"].json_file, dataset["val"].image_root)

    def build(config, *pairs):
        cfg = load_config(str(CONFIGS / f"{config}.yaml"), [*SMALL, *map(str, pairs)])
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (name,), (name,)
        cfg.OUTPUT_DIR = str(tmp_path / "run")
        return cfg

    return build


class Log(HookBase):
    """Keeps the losses of each step."""

    def __init__(self):
        self.rows = {}

    def after_step(self):
        latest = self.trainer.storage.latest()
        self.rows[self.trainer.iter] = {
            name: value
            for name, (value, _) in latest.items()
            if name.startswith("loss_") or name == "total_loss"
        }


def run(cfg, resume=False):
    torch.manual_seed(0)
    trainer = MaskTrainer(cfg)
    trainer.resume_or_load(resume)
    log = Log()
    trainer.register_hooks([log])
    trainer.train()
    return trainer, log.rows


@pytest.mark.parametrize("name", TRAINED)
def test_each_config_trains_and_is_evaluated(mask_config, read_log, name):
    losses, best, scores = TRAINED[name]
    cfg = mask_config(name)
    check_config(cfg)
    assert trainer_class(cfg) is MaskTrainer
    assert best_metric(cfg) == best
    _, rows = run(cfg)
    assert list(rows) == [0, 1]
    assert all(set(row) - {"loss_normalizer"} == losses | {"total_loss"} for row in rows.values())
    assert all(math.isfinite(value) for row in rows.values() for value in row.values())
    assert rows[0] != rows[1]
    log = read_log(cfg.OUTPUT_DIR)
    assert scores | {best} <= set(log[max(log)])


def test_vit_b_is_built_and_takes_a_step(mask_config):
    pairs = ("MODEL.FPN.OUT_CHANNELS", 32, "MODEL.ROI_BOX_HEAD.FC_DIM", 32)
    cfg = mask_config("mask_rcnn_sam_adapter_vitb_fpn", *pairs, "SOLVER.MAX_ITER", 1)
    cfg.DATASETS.TEST = ()
    trainer, rows = run(cfg)
    assert set(rows[0]) == {*RCNN, "total_loss"}
    assert type(trainer.model.backbone.net.encoder).__name__ == "SAMViTEncoder"


def test_what_is_trained_is_adapters_pyramid_and_heads(mask_config):
    cfg = mask_config(MASK_RCNN)
    cfg.DATASETS.TEST = ()
    torch.manual_seed(0)
    trainer = MaskTrainer(cfg)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    changed = {
        name for name, value in trainer.model.state_dict().items() if (value != before[name]).any()
    }
    assert not any(name.startswith("backbone.net.encoder.") for name in changed)
    for part in ("backbone.net.adapters.", "backbone.simfp_2.", "proposal_generator."):
        assert any(name.startswith(part) for name in changed)
    assert any(name.startswith("roi_heads.mask_head.") for name in changed)


def test_a_resumed_run_repeats_what_it_would_have_done(mask_config):
    whole = mask_config("nuclei_head_vitdet", "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2)
    whole.DATASETS.TEST = ()
    _, expected = run(whole)
    folder = Path(whole.OUTPUT_DIR)
    (folder / "last_checkpoint").write_text("model_0000001.pth")
    _, found = run(whole, resume=True)
    assert list(found) == [2, 3]
    assert found == {step: expected[step] for step in (2, 3)}


def test_a_checkpoint_is_evaluated_as_at_the_end_of_the_training(mask_config):
    cfg = mask_config("semantic_sam_adapter_vitt_fpn")
    trainer, _ = run(cfg)
    again = MaskTrainer(cfg)
    again.checkpointer.load(str(Path(cfg.OUTPUT_DIR) / "model_final.pth"))
    expected = trainer.test(cfg, trainer.model.eval())
    assert MaskTrainer.test(cfg, again.model.eval()) == expected
    written = json.loads(
        (Path(cfg.OUTPUT_DIR) / "inference" / "foreground_metrics.json").read_text()
    )
    assert written["mean"]["Dice"] == expected["sem_seg"]["Dice"]


def test_points_alone_are_not_enough_for_masks(mask_config, dataset, tmp_path):
    name = f"points_{tmp_path.name}"
    register_nuclei_instances(name, dataset["train"].json_file, dataset["train"].image_root)
    cfg = mask_config(MASK_RCNN)
    assert len(check_training(cfg)) == 1
    cfg.DATASETS.TRAIN = (name,)
    with pytest.raises(
        InputError,
        match=r"\.png: has an annotation without a mask, but General.*export_pseudo_labels",
    ):
        check_training(cfg)


@pytest.mark.parametrize(
    ("config", "keys", "message"),
    [
        (MASK_RCNN, ("SOLVER.MAX_ITER", "0"), r"SOLVER\.MAX_ITER 0: .*steps, not epochs"),
        (MASK_RCNN, ("INPUT.FORMAT", "BGR"), r"INPUT\.FORMAT 'BGR': images are read as RGB"),
        (MASK_RCNN, ("MODEL.META_ARCHITECTURE", "Odd"), r"META_ARCHITECTURE 'Odd': unknown"),
        ("nuclei_head_vitdet", ("INFERENCE.TILE", "128"), r"TILE 128: build_vitdet_backbone"),
        ("demo", ("MODEL.BACKBONE.NAME", "build_resnet_backbone"), r"use SAMAdapterBackbone"),
    ],
)
def test_values_that_do_not_fit_the_architecture_are_named(mask_config, config, keys, message):
    with pytest.raises(InputError, match=message):
        check_config(mask_config(config, *keys))


def test_a_convolutional_backbone_may_see_tiles(mask_config):
    check_config(mask_config("nuclei_head_R50_fpn", "INFERENCE.TILE", "128"))


def test_selfsam_alone_has_its_trainer(mask_config):
    assert trainer_class(mask_config("demo")) is SelfSAMTrainer
    with pytest.raises(InputError, match=r"'GeneralizedRCNN': makes no labels from points"):
        SelfSAMTrainer(mask_config(MASK_RCNN))


@pytest.mark.parametrize(
    ("name", "scale"), [(MASK_RCNN, 2), ("nuclei_head_vitdet", 1), ("demo", 1)]
)
def test_images_are_enlarged_in_evaluation_as_in_training(mask_config, name, scale):
    cfg = mask_config(name)
    (sample,) = next(iter(trainer_class(cfg).build_test_loader(cfg, cfg.DATASETS.TEST[0])))
    assert sample["image"].shape == (3, scale * 128, scale * 128)
    assert (sample["height"], sample["width"]) == (128, 128)
    if scale > 1:
        trainer = MaskTrainer(cfg)
        (crop,) = next(iter(trainer.data_loader))
        assert crop["image"].shape == (3, scale * 64, scale * 64)
