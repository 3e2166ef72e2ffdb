"""Every YAML of ``configs/``: it merges, is checked, builds, and says what its name says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

from selfsam_d2.engine.checks import check_config
from selfsam_d2.engine.setup import load_config

FOLDER = Path(__file__).parents[2] / "configs"
FILES = sorted(
    path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml")
)
BASES = (
    *("Base-SelfSAM", "Base-SelfSAM-vitt", "Base-SAM-Adapter-FPN", "Base-NucleiSegmentor"),
    # Another model each, which no other config builds on.
    *("retinanet_sam_adapter_vitt_fpn", "semantic_sam_adapter_vitt_fpn"),
    *("nuclei_head_R50_fpn", "nuclei_head_vitdet"),
)
OWN_SIZES = ("demo",)  # a training of minutes, which no other config builds on
# What the shipped model must reach, with --eval-only.
SHIPPED = ("quick_schedules/monuseg_vitt_shipped", "quick_schedules/tnbc_vitt_shipped")
ABSTRACT = ("Base-NucleiSegmentor",)  # names no backbone
# Detectron2's ViT reads values while it is built, which a tensor without memory has not.
NEEDS_MEMORY = ("nuclei_head_vitdet",)
OWN_POINTS = "own_vitt"  # of a user, registered on the command line
DETECTORS = ("mask_rcnn_sam_adapter_vitb_fpn", "mask_rcnn_sam_adapter_vitt_fpn")
LINES = range(3, 11)  # of a child, comments and base among them
WIDTH = 100
PAPER = ("cpm17", "monuseg", "consep")
WEIGHTS = {"vitt": "mobile_sam", "vitb": "sam_vit_b", "vitl": "sam_vit_l", "vith": "sam_vit_h"}
MILLIONS = {"vitt": 14, "vitb": 98, "vitl": 316, "vith": 645}
TEST_SPLITS = {"cpm17": "test", "monuseg": "val", "consep": "test", "tnbc": "val"}
STATIC = {"MODEL.LOSS.CONTRAST_WEIGHT": 0.0, "PSEUDO_LABEL.NAME": "StaticSAMLabels"}
VORONOI = {
    "MODEL.LOSS.PROMPT_WEIGHT": 0.0,
    "MODEL.LOSS.CONTRAST_WEIGHT": 0.0,
    "PSEUDO_LABEL.NAME": "VoronoiClusterLabels",
}
# What a variant changes in the config that it is a variant of.
VARIANTS = {
    "static": STATIC,
    "voronoi": VORONOI,
    "no_contrast": {"MODEL.LOSS.CONTRAST_WEIGHT": 0.0},
    "alpha_constant": {"SELF_REFINE.ALPHA_SCHEDULE": "constant"},
    "alpha_exponential": {"SELF_REFINE.ALPHA_SCHEDULE": "exponential"},
    "alpha_step": {"SELF_REFINE.ALPHA_SCHEDULE": "step"},
}
RIVALS = ("static", "voronoi")
SHIFTS = ("", "_shift8")
TABLE_1 = [f"{name}_vith_{row}{shift}" for name in PAPER for row in RIVALS for shift in SHIFTS]
TABLE_2 = [f"{name}_vitb_{row}" for name in PAPER[:2] for row in ("static", "no_contrast")]
TABLE_3 = [f"{name}_vitb_{row}" for name in PAPER for row in VARIANTS if row.startswith("alpha")]
TABLE_4 = [f"consep_{encoder}_static" for encoder in ("vitb", "vitl", "vith")]
SMALL = [
    f"{name}_vitt_{row}{shift}"
    for name in ("monuseg", "tnbc")
    for row in RIVALS
    for shift in SHIFTS
]
ABLATIONS = sorted({*TABLE_1, *TABLE_2, *TABLE_3, *TABLE_4, *SMALL})
MAIN = sorted(
    f"{name}{shift}"
    for name in [*(f"{data}_{encoder}" for data in PAPER for encoder in WEIGHTS), "tnbc_vitt"]
    for shift in ("", "_shift8")
)


def load(name):
    return load_config(str(FOLDER / f"{name}.yaml"), [])


def flat(cfg, prefix=""):
    """Key with dots -> value."""
    values = {}
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[prefix + key] = value
    return values


def differences(name, other):
    """What the first sets otherwise than the second, OUTPUT_DIR left out."""
    theirs = flat(load(other))
    mine = {key: value for key, value in flat(load(name)).items() if value != theirs[key]}
    mine.pop("OUTPUT_DIR", None)
    return mine


def test_all_rows_of_the_papers_tables_are_there():
    expected = [*BASES, *OWN_SIZES, *SHIPPED, OWN_POINTS, *DETECTORS, *MAIN]
    expected += [f"ablations/{name}" for name in ABLATIONS]
    assert sorted(expected) == FILES


@pytest.mark.parametrize("name", [name for name in FILES if name not in ABSTRACT])
def test_it_merges_is_checked_and_builds(name):
    cfg = load(name)
    check_config(cfg)
    device = "cpu" if name in NEEDS_MEMORY else "meta"  # no memory, no time
    cfg.MODEL.DEVICE = device
    with torch.device(device):
        model = build_model(cfg)
    tensors = [*model.parameters(), *model.buffers()]
    assert {tensor.device.type for tensor in tensors} == {device}


@pytest.mark.parametrize("name", sorted({*FILES} - {*BASES, *OWN_SIZES, *DETECTORS}))
def test_a_child_is_short(name):
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    assert len(lines) in LINES
    assert max(map(len, lines)) <= WIDTH


@pytest.mark.parametrize("name", [*MAIN, *(f"ablations/{name}" for name in ABLATIONS)])
def test_it_says_what_its_name_says(name):
    cfg = flat(load(name))
    dataset, encoder, *rest = Path(name).name.split("_")
    expected = {
        "MODEL.WEIGHTS": WEIGHTS[encoder],
        "MODEL.SAM.ENCODER": f"vit_{encoder[-1]}",
        "MODEL.SAM.CHECKPOINT_BLOCKS": encoder == "vith",
        "DATASETS.TRAIN": (f"{dataset}_train",),
        "DATASETS.TEST": (f"{dataset}_{TEST_SPLITS[dataset]}",),
        "INPUT.NUCLEI.SHIFT": 8.0 if "shift8" in rest else 0.0,
        "OUTPUT_DIR": f"output/{name}",  # no run overwrites another one
    }
    assert {key: cfg[key] for key in expected} == expected
    assert {*cfg["DATASETS.TRAIN"], *cfg["DATASETS.TEST"]} <= set(DatasetCatalog)
    # No test image chooses a model.
    assert cfg["TEST.EVAL_PERIOD"] == 0 or TEST_SPLITS[dataset] == "val"


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_model_is_measured_as_its_card_says(name):
    main = Path(name).name.removesuffix("_shipped")
    changed = differences(name, main)
    assert changed.pop("MODEL.WEIGHTS") == "selfsam_monuseg_vitt"
    expected = changed.pop("TEST.EXPECTED_RESULTS")
    assert changed == {}
    card = (FOLDER.parent / "model_zoo" / "monuseg_vitt.md").read_text()
    for task, metric, value, tolerance in expected:
        assert task == "nuclei"
        assert f"{metric} {value:.3f}" in card
        assert 0 < tolerance < 0.005


@pytest.mark.parametrize("encoder", WEIGHTS)
def test_size_of_the_model(encoder):
    cfg = load(f"consep_{encoder}")
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    parameters = sum(each.numel() for each in model.parameters())
    assert round(parameters / 1e6) == MILLIONS[encoder]


def test_the_papers_settings_are_the_same_for_every_dataset_and_encoder():
    allowed = {
        *("MODEL.WEIGHTS", "MODEL.SAM.ENCODER", "MODEL.SAM.CHECKPOINT_BLOCKS"),
        *("DATASETS.TRAIN", "DATASETS.TEST", "INPUT.NUCLEI.MICRONS_PER_PIXEL"),
    }
    for dataset in PAPER:
        for encoder in ("vitb", "vitl", "vith"):
            assert differences(f"{dataset}_{encoder}", "Base-SelfSAM").keys() <= allowed
    for dataset in ("cpm17", "consep", "tnbc"):
        changed = differences(f"{dataset}_vitt", "monuseg_vitt").keys()
        assert changed == {
            *("DATASETS.TRAIN", "DATASETS.TEST", "TEST.EVAL_PERIOD"),
            "INPUT.NUCLEI.MICRONS_PER_PIXEL",
        }


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("_shift8")])
def test_shift_changes_the_shift_alone(name):
    assert differences(name, name.removesuffix("_shift8")) == {"INPUT.NUCLEI.SHIFT": 8.0}


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_variant_changes_what_its_table_says(name):
    dataset, encoder, *variant = name.removesuffix("_shift8").split("_")
    main = f"{dataset}_{encoder}{'_shift8' * name.endswith('_shift8')}"
    theirs = flat(load(main))
    wanted = VARIANTS["_".join(variant)]
    unlike = {key: value for key, value in wanted.items() if theirs[key] != value}
    assert differences(f"ablations/{name}", main) == unlike != {}


def test_the_model_prompts_itself_in_the_second_half():
    for dataset in ("monuseg", "tnbc"):
        cfg = load(f"{dataset}_vitt")
        assert cfg.PSEUDO_LABEL.REPROMPT
        assert cfg.PSEUDO_LABEL.REPROMPT_START == cfg.SOLVER.EPOCHS / 2
        assert cfg.SOLVER.COSINE_T_MAX == cfg.SOLVER.EPOCHS


def test_own_points_are_trained_as_monuseg_is_but_for_a_least_number_of_steps():
    assert differences(OWN_POINTS, "monuseg_vitt") == {
        "DATASETS.TRAIN": ("mine",),
        "DATASETS.TEST": (),
        "INPUT.NUCLEI.MIN_CROPS_PER_EPOCH": 150,
        "INPUT.NUCLEI.MICRONS_PER_PIXEL": 0.0,  # what the JSON says
        "TEST.EVAL_PERIOD": 300,
    }
    cfg = load(OWN_POINTS)
    assert cfg.SOLVER.EPOCHS * cfg.INPUT.NUCLEI.MIN_CROPS_PER_EPOCH == 1500


def test_main_configs_are_the_last_row_of_tables_2_and_3():
    cfg = load("cpm17_vitb")
    assert cfg.SELF_REFINE.ALPHA_SCHEDULE == "linear"
    assert cfg.PSEUDO_LABEL.CONSENSUS
    assert cfg.MODEL.LOSS.CONTRAST_WEIGHT == 1.0
    assert cfg.SELF_REFINE.ALPHA_CONSTANT == 0.5
    assert cfg.SELF_REFINE.ALPHA_GAMMA == 0.5
    assert (cfg.SOLVER.EPOCHS, cfg.MODEL.SAM.INPUT_SIDE, cfg.INPUT.NUCLEI.CROP) == (100, 1024, 224)
