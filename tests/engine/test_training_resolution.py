"""The µm/px of a training: what the images state, or an error where that cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import count
from pathlib import Path
from statistics import fmean

import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.engine.setup import argument_parser, check_inputs, load_config, setup
from selfsam_d2.engine.training_resolution import agreed_resolution, set_training_resolution
from selfsam_d2.errors import InputError
from selfsam_d2.prediction.resolution import scale_between

CONFIG = str(Path(__file__).parents[2] / "configs" / "demo.yaml")
KEY = "INPUT.NUCLEI.MICRONS_PER_PIXEL"
NUMBERS = count()


@pytest.fixture
def register(tmp_path):
    """Function: name of an image -> µm/px or None; the name of the dataset."""
    names = []

    def build(**stated):
        name = f"resolutions_{next(NUMBERS)}"
        names.append(name)
        images, annotations = [], []
        for number, (stem, microns) in enumerate(stated.items(), start=1):
            Image.new("RGB", (40, 30)).save(tmp_path / f"{stem}.png")
            size = {"file_name": f"{stem}.png", "height": 30, "width": 40}
            images.append({"id": number, **size, "microns_per_pixel": microns})
            annotations.append({"id": number, "image_id": number, "category_id": 1})
            annotations[-1]["point"] = [9, 7]
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"images": images, "annotations": annotations}))
        register_nuclei_instances(name, path, tmp_path)
        return name

    yield build
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def config(*names, microns=0.0):
    cfg = load_config("", [])
    cfg.DATASETS.TRAIN = names
    cfg.INPUT.NUCLEI.MICRONS_PER_PIXEL = microns
    return cfg


def resolved(*names, microns=0.0):
    cfg = config(*names, microns=microns)
    said = set_training_resolution(cfg)
    return cfg.INPUT.NUCLEI.MICRONS_PER_PIXEL, said


def test_what_all_images_state_is_taken_over(register):
    one, other = register(a=0.5, b=0.52), register(c=0.54)
    microns, said = resolved(one, other)
    assert microns == pytest.approx(0.52)
    assert said == "0.52 µm/px, stated by 3 images"
    assert resolved(register(a=0.25, b=0.25))[0] == 0.25
    # What the config has and the images bear out stays.
    assert resolved(one, other, microns=0.5) == (0.5, "0.5 µm/px, of the config")


def test_images_that_state_nothing_are_not_judged(register):
    name = register(a=0.5, b=None)
    microns, said = resolved(name)
    assert microns == 0
    assert said == f"unknown, stated by 1 of 2 images; {KEY} sets it"
    assert resolved(name, microns=0.5)[0] == 0.5
    nothing = register(c=None, d=None)
    assert resolved(nothing) == (0, f"unknown, stated by 0 of 2 images; {KEY} sets it")
    assert resolved(nothing, microns=0.25)[0] == 0.25
    assert resolved("nowhere") == (0, f"unknown, stated by 0 of 0 images; {KEY} sets it")


def test_another_resolution_than_that_of_the_config_is_refused(register, tmp_path):
    name = register(a=0.25, b=0.5, c=None)
    with pytest.raises(InputError) as caught:
        resolved(name, microns=0.25)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'b.png'}: states 0.5 µm/px, but {KEY} is 0.25; ")
    assert "rescale" in message
    assert f"set {KEY}" in message
    assert "\n" not in message
    assert resolved(register(a=0.2715), microns=0.25)[0] == 0.25
    for microns in (0.28, 0.22):
        with pytest.raises(InputError, match=r"a\.png: states"):
            resolved(register(a=microns), microns=0.25)


def test_images_of_different_resolution_are_refused(register, tmp_path):
    with pytest.raises(InputError) as caught:
        resolved(register(a=0.27, b=None), register(c=0.5, d=0.25))
    message = str(caught.value)
    with pytest.raises(InputError, match="rescale"):
        resolved(register(a=0.25, b=0.277))  # 1 - 0.25 / 0.277 is less than 0.1
    first, second = tmp_path / "d.png", tmp_path / "c.png"
    assert message.startswith(f"{first}: states 0.25 µm/px, but {second} 0.5; rescale")
    assert "\n" not in message


def test_what_no_microscope_has_is_refused(register, tmp_path):
    with pytest.raises(InputError, match=r"a\.png: states 250 µm/px, which is at most 10; mend"):
        resolved(register(a=250))


@given(
    st.dictionaries(st.text(min_size=1), st.floats(0.05, 10), min_size=1),
    st.one_of(st.just(0.0), st.floats(0.05, 10)),
)
def test_no_image_of_a_training_would_be_rescaled_by_a_prediction(stated, key):
    """Either it is refused, or the resolution is one that leaves each of its images alone."""
    try:
        found = agreed_resolution(stated, key)
    except InputError:
        if key:
            assert any(scale_between(key, each) != 1 for each in stated.values())
        else:
            assert max(stated.values()) / min(stated.values()) > 1.0999
    else:
        assert found == (key or pytest.approx(fmean(stated.values())))
        assert all(scale_between(found, each) == 1 for each in stated.values())


@pytest.fixture
def typed(small_keys, tmp_path):
    """Function: name of a dataset of ``register``, options -> what is typed to train on it."""

    def build(name, *options):
        keys = ("DATASETS.TRAIN", name, "DATASETS.TEST", "()", "MODEL.WEIGHTS", "", KEY, "0")
        register = ("--register", name, str(tmp_path / f"{name}.json"), str(tmp_path))
        output = ("OUTPUT_DIR", str(tmp_path / "run"))
        return [*options, "--config-file", CONFIG, *register, *small_keys, *keys, *output]

    return build


def test_the_config_beside_the_checkpoints_has_it(register, typed, tmp_path):
    command = typed(register(a=0.5, b=0.5))
    program = (
        "from selfsam_d2.engine.setup import argument_parser, setup\n"
        "with setup(argument_parser().parse_args()) as cfg:\n"
        "    assert cfg.is_frozen() and cfg.INPUT.NUCLEI.MICRONS_PER_PIXEL == 0.5"
    )
    # Not in this process: it would keep the loggers.
    subprocess.run([sys.executable, "-c", program, *command], check=True, capture_output=True)
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["INPUT"]["NUCLEI"]["MICRONS_PER_PIXEL"] == 0.5
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "Resolution: 0.5 µm/px, stated by 2 images" in log
    checked = check_inputs(argument_parser().parse_args(command))
    assert checked.INPUT.NUCLEI.MICRONS_PER_PIXEL == 0.5


def test_an_evaluation_asks_for_none(register, typed, monkeypatch):
    for name in ("default_setup", "start_logs"):
        monkeypatch.setattr(f"selfsam_d2.engine.setup.{name}", lambda *_, **__: None)
    command = typed(register(a=0.25, b=0.5))
    args = argument_parser().parse_args(["--eval-only", *command])
    with setup(args) as cfg:
        assert cfg.INPUT.NUCLEI.MICRONS_PER_PIXEL == 0
    for check in (lambda args: setup(args).__enter__(), check_inputs):
        with pytest.raises(InputError, match="rescale"):
            check(argument_parser().parse_args(command))
