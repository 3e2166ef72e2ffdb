"""Values of the config and datasets that cannot be used are named before anything starts."""

import json
import math
from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg
from PIL import Image

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.engine.checks import CHOICES, RANGES, REGISTRIES, check_config
from selfsam_d2.engine.data_checks import (
    check_evaluation,
    check_training,
    check_weights,
    load_records,
)
from selfsam_d2.engine.setup import argument_parser, check_inputs, load_config
from selfsam_d2.errors import InputError

CONFIG = str(Path(__file__).parents[2] / "configs" / "demo.yaml")


def flat(cfg, prefix=""):
    """Key with dots -> value."""
    values = {}
    for key, value in cfg.items():
        within = isinstance(value, CfgNode)
        values |= flat(value, f"{prefix}{key}.") if within else {prefix + key: value}
    return values


def test_the_shipped_values_pass(small_config):
    check_config(small_config())


@pytest.mark.parametrize("key", CHOICES)
def test_unknown_choices_are_named(small_config, key):
    given = "odd" if isinstance(CHOICES[key][0], str) else "77"
    with pytest.raises(InputError, match=rf"{key} '?{given}'?: unknown; expected one of "):
        check_config(small_config(key, given))


@pytest.mark.parametrize("key", REGISTRIES)
def test_what_a_user_registers_is_known_from_then_on(small_config, key):
    with pytest.raises(InputError, match=rf"{key} 'Mine': unknown; expected one of \w+, "):
        check_config(small_config(key, "Mine"))
    REGISTRIES[key].register(type("Mine", (), {"forward_both": None}))
    try:
        check_config(small_config(key, "Mine"))
    finally:
        del REGISTRIES[key]._obj_map["Mine"]


@pytest.mark.parametrize("key", RANGES)
def test_values_out_of_range_are_named(small_config, key):
    with pytest.raises(InputError, match=rf"{key} -1.*: expected a number from"):
        check_config(small_config(key, "-1"))


@pytest.mark.parametrize("key", [key for key, (_, high) in RANGES.items() if high < math.inf])
def test_values_beyond_a_range_are_named(small_config, key):
    with pytest.raises(InputError, match=rf"{key} 777.*: expected a number from"):
        check_config(small_config(key, "777"))


def test_every_number_of_ours_is_checked(small_config):
    """A key that is forgotten here takes any number, and a wrong one spoils a training."""
    elsewhere = {"MODEL.SAM.INPUT_SIDE", "INFERENCE.OVERLAP", "SOLVER.EPOCHS", "SELFSAM.VERSION"}
    free = {"INPUT.NUCLEI.SHIFT_SEED"}  # any number is a seed
    stock = flat(get_cfg())
    numbers = {
        key
        for key, value in flat(small_config()).items()
        if key not in stock and type(value) in (int, float) and not key.startswith("POSTPROCESS.")
    }
    assert numbers - {*RANGES, *CHOICES} == elsewhere | free


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("PROMPT.SPACING_SCALE", "0.0"),
        ("PROMPT.DEFAULT_RADIUS", "0.0"),
        ("SOLVER.MIN_LR", "1.0"),
        ("MODEL.SAM.INPUT_SIDE", "100"),
        ("MODEL.SAM.INPUT_SIDE", "0"),
        ("INFERENCE.OVERLAP", "64"),
        ("PROMPT.NUM_NEGATIVES", "5"),
        ("PROMPT.MASK_TOKEN", "4"),
        ("POSTPROCESS.SOBEL_KERNEL", "20"),
    ],
)
def test_more_values_that_cannot_be_used(small_config, key, value):
    with pytest.raises(InputError, match=f"{key} {value}: expected"):
        check_config(small_config(key, value))


def test_the_stain_has_a_say_only_in_the_cells_of_the_points(small_config):
    weight = ("PSEUDO_LABEL.STAIN_WEIGHT", "0.5")
    check_config(small_config(*weight, "PSEUDO_LABEL.VORONOI", "True"))
    with pytest.raises(InputError, match=r"PSEUDO_LABEL\.STAIN_WEIGHT 0\.5: .*VORONOI to True"):
        check_config(small_config(*weight, "PSEUDO_LABEL.VORONOI", "False"))


def test_a_run_needs_steps_or_epochs(small_config):
    with pytest.raises(InputError, match=r"SOLVER\.EPOCHS 0"):
        check_config(small_config("SOLVER.MAX_ITER", "0", "SOLVER.EPOCHS", "0"))


def test_datasets_must_be_named_and_known():
    with pytest.raises(InputError, match=r"set DATASETS\.TRAIN"):
        load_records(())
    with pytest.raises(InputError, match=r"'nowhere': unknown; register it with --register"):
        load_records(("nowhere",))


def test_an_image_may_be_trained_on_once(small_config, dataset):
    cfg = small_config()
    twice = f"{cfg.DATASETS.TRAIN[0]}_again"
    register_nuclei_instances(twice, dataset["train"].json_file, dataset["train"].image_root)
    assert len(check_training(cfg)) == 2
    cfg.DATASETS.TRAIN = (*cfg.DATASETS.TRAIN, twice)
    with pytest.raises(InputError, match=r"\.png: is in two of DATASETS\.TRAIN"):
        check_training(cfg)


def test_validation_needs_masks_and_whole_images(small_config, dataset, tmp_path):
    cfg = small_config()
    check_evaluation(cfg)
    cfg.DATASETS.TEST = cfg.DATASETS.TRAIN
    with pytest.raises(InputError, match="annotation without a mask"):
        check_evaluation(cfg)
    coco = json.loads(dataset["val"].json_file.read_text())
    name = coco["images"][0]["file_name"]
    content = (dataset["val"].image_root / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    assert Image.open(tmp_path / name).size == (128, 128)
    register_nuclei_instances(f"cut_{tmp_path.name}", dataset["val"].json_file, tmp_path)
    cfg.DATASETS.TEST = (f"cut_{tmp_path.name}",)
    with pytest.raises(InputError, match=f"{name}: truncated"):
        check_evaluation(cfg)


def test_whole_numbers_will_do_where_a_key_holds_a_float(tmp_path):
    path = tmp_path / "shift.yaml"
    path.write_text(f"_BASE_: {CONFIG}\nINPUT:\n  NUCLEI:\n    SHIFT: 8\nSEED: 3\n")
    cfg = load_config(str(path), [])
    assert (cfg.INPUT.NUCLEI.SHIFT, cfg.SEED) == (8.0, 3)
    assert isinstance(cfg.INPUT.NUCLEI.SHIFT, float)
    cfg = load_config(str(path), ["INPUT.NUCLEI.SHIFT", "2", "SEED", "4", "MODEL.DEVICE", "cpu"])
    assert (cfg.INPUT.NUCLEI.SHIFT, cfg.SEED) == (2.0, 4)


def test_configs_of_another_version_or_with_code_are_refused(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text("VERSION: 3\n")
    with pytest.raises(InputError, match=r"old\.yaml: made by a newer Detectron2"):
        load_config(str(path), [])
    path.write_text("SEED: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError, match=r"old\.yaml: "):
        load_config(str(path), [])


@pytest.mark.parametrize("value", ["(1.2, 0.8)", "(0.0, 0.0)", "(1.0,)"])
def test_scales_must_rise_from_above_zero(small_config, value):
    with pytest.raises(InputError, match=r"INPUT\.NUCLEI\.SCALE .*: expected the smallest and"):
        check_config(small_config("INPUT.NUCLEI.SCALE", value))


def test_devices_and_other_architectures_are_named(small_config):
    with pytest.raises(InputError, match=r"MODEL\.DEVICE 'foo': unknown; give cpu or cuda"):
        check_config(small_config("MODEL.DEVICE", "foo"))
    with pytest.raises(InputError, match=r"INPUT\.FORMAT 'BGR': .*--config-file"):
        check_config(load_config("", []))
    with pytest.raises(InputError, match=r"META_ARCHITECTURE 'Odd': unknown; .*SelfSAM"):
        check_config(small_config("MODEL.META_ARCHITECTURE", "Odd"))


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "MODEL: 3\n", "7\n"])
def test_files_that_hold_no_mapping_are_named(tmp_path, text):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"odd\.yaml: "):
        load_config(str(path), [])


def test_only_the_wrong_pair_is_named_and_a_bare_name_will_do_for_a_tuple():
    with pytest.raises(InputError, match=r"^SEED abc: "):
        load_config(CONFIG, ["OUTPUT_DIR", "out", "SEED", "abc"])
    with pytest.raises(InputError, match=r"^SEED: a key without a value"):
        load_config(CONFIG, ["OUTPUT_DIR", "out", "SEED"])
    with pytest.raises(InputError, match=r"^--resume: options go before the first KEY VALUE pair"):
        load_config(CONFIG, ["SEED", "1", "--resume"])
    assert load_config(CONFIG, ["DATASETS.TRAIN", "my_train"]).DATASETS.TRAIN == ("my_train",)


def test_an_evaluation_needs_a_dataset(small_config):
    cfg = small_config()
    cfg.DATASETS.TEST = ()
    check_evaluation(cfg)
    with pytest.raises(InputError, match=r"DATASETS\.TEST \(\): nothing to evaluate"):
        check_evaluation(cfg, needed=True)


def test_tiles_are_for_an_encoder_that_attends_locally(small_config):
    check_config(small_config("INFERENCE.TILE", 512))
    with pytest.raises(InputError, match=r"INFERENCE\.TILE 512: vit_b attends globally"):
        check_config(small_config("INFERENCE.TILE", 512, "MODEL.SAM.ENCODER", "vit_b"))


def test_weights_are_looked_for_unless_a_checkpoint_is_resumed_from(small_config, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    cfg = small_config("MODEL.WEIGHTS", str(tmp_path / "gone.pth"))
    for resume in (False, True):
        with pytest.raises(InputError, match=r"gone\.pth: no such file of weights"):
            check_weights(cfg, resume=resume)
    (folder / "last_checkpoint").write_text("model_0000003.pth")
    check_weights(cfg, resume=True)
    with pytest.raises(InputError, match=r"gone\.pth"):
        check_weights(cfg)
    cfg.MODEL.WEIGHTS = ""
    check_weights(cfg)


def test_the_inputs_of_a_command_are_checked_to_the_weights(dataset, tmp_path):
    """What is not noticed here comes from one of several processes, with a traceback."""
    train, val = (f"{split}_of_{tmp_path.name}" for split in ("train", "val"))
    given = ["--config-file", CONFIG]
    for name, split in ((train, dataset["train"]), (val, dataset["val"])):
        given += ["--register", name, str(split.json_file), str(split.image_root)]
    keys = ["DATASETS.TRAIN", train, "DATASETS.TEST", val, "MODEL.WEIGHTS"]
    for option in ([], ["--eval-only"]):
        check_inputs(argument_parser().parse_args([*option, *given, *keys, ""]))
        missing = argument_parser().parse_args([*option, *given, *keys, "gone.pth"])
        with pytest.raises(InputError, match=r"gone\.pth: no such file of weights"):
            check_inputs(missing)


LONG = "x" * 5000


@pytest.mark.parametrize(
    "text",
    [
        *(f"PSEUDO_LABEL: {{NAME: {LONG}}}", f"INPUT: {{FORMAT: {LONG}}}", f"VERSION: {LONG}"),
        *(f"MODEL: {{DEVICE: {LONG}}}", f"SELFSAM: {{VERSION: {LONG}}}"),
        *(f"INFERENCE: {{SCALES: {LONG}}}", f"TEST: {{EXPECTED_RESULTS: [{LONG}]}}"),
    ],
)
def test_a_value_of_a_yaml_is_quoted_in_part(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    opts = [] if "FORMAT" in text else ["INPUT.FORMAT", "RGB"]  # that of Detectron2 is BGR
    with pytest.raises(InputError) as caught:
        check_config(load_config(str(tmp_path / "a.yaml"), opts))
    assert "xxx" in str(caught.value)
    assert len(str(caught.value)) < 1000
