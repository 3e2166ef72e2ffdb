"""Registration in Detectron2's catalogs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from selfsam_d2.data.coco_json import coco_from_instance_maps, write_coco_json
from selfsam_d2.data.registration import (
    builtin_paths,
    register_builtin_datasets,
    register_nuclei_instances,
)
from selfsam_d2.data.splits import BUILTIN_SPLITS
from selfsam_d2.errors import InputError

ROOT = Path(__file__).parents[2]
BUILTIN_NAMES = [
    f"{dataset}_{split}" for dataset, splits in BUILTIN_SPLITS.items() for split in splits
]


@pytest.fixture
def forget():
    """Names given to it are taken out of the catalogs at the end."""
    names = []
    yield names.append
    for name in names:
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


@pytest.fixture
def without_builtin():
    """The built-in datasets out of the catalogs, and back where they were."""
    loaders = {name: DatasetCatalog.pop(name, None) for name in BUILTIN_NAMES}
    metadata = {name: MetadataCatalog.pop(name, None) for name in BUILTIN_NAMES}
    yield
    for name in BUILTIN_NAMES:
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)
        if loaders[name] is not None:
            DatasetCatalog[name] = loaders[name]
            MetadataCatalog[name] = metadata[name]


def write_dataset(json_file, image_root):
    image_root.mkdir(parents=True, exist_ok=True)
    instance_map = np.pad(np.ones((4, 4), dtype=np.int32), ((2, 2), (1, 5)))
    Image.new("RGB", (10, 8)).save(image_root / "a.png")
    write_coco_json(json_file, coco_from_instance_maps([("a.png", instance_map)]))


def test_a_registered_dataset_is_found_by_name(tmp_path, forget):
    forget("nuclei_here")
    register_nuclei_instances("nuclei_here", tmp_path / "a.json", tmp_path, centre="box")
    write_dataset(tmp_path / "a.json", tmp_path)  # after it: nothing is read before it is used
    (record,) = DatasetCatalog.get("nuclei_here")
    assert record["annotations"][0]["point"] == [3.0, 4.0]
    metadata = MetadataCatalog.get("nuclei_here")
    assert metadata.evaluator_type == "nuclei"
    assert metadata.thing_classes == ["nucleus"]
    assert metadata.thing_dataset_id_to_contiguous_id == {1: 0}
    assert metadata.json_file == str(tmp_path / "a.json")
    assert metadata.image_root == str(tmp_path)
    assert metadata.centre_rule == "box"


def test_the_resolution_of_an_image_is_handed_on(tmp_path, forget):
    write_dataset(tmp_path / "a.json", tmp_path)
    key = "microns_per_pixel"
    for number, (stated, expected) in enumerate((({}, None), ({key: None}, None), ({key: 1}, 1.0))):
        coco = json.loads((tmp_path / "a.json").read_text())
        coco["images"][0].update(stated)
        name = f"nuclei_of_{number}"
        forget(name)
        write_coco_json(tmp_path / f"{name}.json", coco)
        register_nuclei_instances(name, tmp_path / f"{name}.json", tmp_path)
        (record,) = DatasetCatalog.get(name)
        assert record.get(key) == expected
        assert isinstance(record.get(key), float | None)
        assert (key in record) == (expected is not None)


def test_the_same_again_does_nothing_and_another_is_refused(tmp_path, forget, monkeypatch):
    forget("nuclei_twice")
    register_nuclei_instances("nuclei_twice", tmp_path / "a.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    register_nuclei_instances("nuclei_twice", "a.json", ".")
    for arguments in (
        (tmp_path / "b.json", tmp_path),
        (tmp_path / "a.json", tmp_path / "images"),
        (tmp_path / "a.json", tmp_path, "box"),
    ):
        with pytest.raises(InputError, match=r'"nuclei_twice": registered already, as .*a\.json'):
            register_nuclei_instances("nuclei_twice", *arguments)


def test_a_relative_path_stays_where_it_was(tmp_path, forget, monkeypatch):
    forget("nuclei_relative")
    write_dataset(tmp_path / "a.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    register_nuclei_instances("nuclei_relative", "a.json", ".")
    monkeypatch.chdir("/")
    assert len(DatasetCatalog.get("nuclei_relative")) == 1


def test_names_of_others_and_unknown_rules_are_refused(tmp_path, forget):
    forget("of_somebody_else")
    DatasetCatalog.register("of_somebody_else", list)
    with pytest.raises(InputError, match="registered already, as another kind"):
        register_nuclei_instances("of_somebody_else", tmp_path / "a.json", tmp_path)
    with pytest.raises(InputError, match='"middle": unknown; use one of centroid, box'):
        register_nuclei_instances("nuclei_rule", tmp_path / "a.json", tmp_path, centre="middle")
    assert "nuclei_rule" not in DatasetCatalog


@pytest.mark.usefixtures("without_builtin")
def test_builtin_datasets_are_below_the_root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register_builtin_datasets()
    register_builtin_datasets(tmp_path)
    assert os.listdir(tmp_path) == []
    paths = builtin_paths("monuseg", "val")
    assert paths.json_file == tmp_path / "monuseg" / "annotations" / "monuseg_val.json"
    assert paths.image_root == tmp_path / "monuseg" / "val" / "images"
    write_dataset(*paths)
    assert len(DatasetCatalog.get("monuseg_val")) == 1
    with pytest.raises(InputError) as caught:
        DatasetCatalog.get("monuseg_test")
    missing = tmp_path / "monuseg" / "annotations" / "monuseg_test.json"
    command = (
        "python datasets/prepare_monuseg.py --images DIR --annotations DIR --split test "
        f"--output {tmp_path}"
    )
    assert str(missing) in str(caught.value)
    assert command in str(caught.value)
    with pytest.raises(InputError, match="registered already"):
        register_builtin_datasets(tmp_path / "elsewhere")


@pytest.mark.usefixtures("without_builtin")
def test_every_builtin_dataset_names_the_command_that_makes_it(tmp_path):
    register_builtin_datasets(tmp_path)
    assert set(BUILTIN_NAMES) == {
        *("monuseg_train", "monuseg_val", "monuseg_test", "cpm17_train", "cpm17_test"),
        *("consep_train", "consep_test", "tnbc_train", "tnbc_val", "tnbc_test"),
    }
    for name in BUILTIN_NAMES:
        dataset, split = name.split("_")
        with pytest.raises(InputError) as caught:
            DatasetCatalog.get(name)
        script = f"datasets/prepare_{dataset}.py"
        assert (ROOT / script).is_file()
        files = {
            "monuseg": "--images DIR --annotations DIR",  # TIFF and ImageScope XML
            "tnbc": "--images TNBC_NucleiSegmentation",  # holds the masks as well
        }.get(dataset, "--images DIR --labels DIR")  # PNG and .mat
        command = f"run: python {script} {files} --split {split} --output {tmp_path}"
        assert f"dataset {name} is not prepared; {command}" in str(caught.value)


def test_default_root(monkeypatch):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    assert builtin_paths("monuseg", "train").image_root.parts[0] == "datasets"
