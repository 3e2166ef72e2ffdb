"""Importing the package adds names of its own to Detectron2, and changes nothing that is there."""

import json
import subprocess
import sys

ADDED = {
    "BACKBONE": {
        "SAMAdapterBackbone",
        "build_sam_adapter_fpn_backbone",
        "build_vitdet_backbone",
    },
    "META_ARCH": {"SelfSAM", "NucleiSegmentor"},
}
# Run in a process of its own, in which nothing has imported the package yet.
CODE = """
import gc, json, sys, warnings
warnings.simplefilter("ignore")
import detectron2.data.datasets, detectron2.engine, detectron2.evaluation, detectron2.model_zoo
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.registry import Registry


def registries():
    found = [each for each in gc.get_objects() if isinstance(each, Registry)]
    return {each._name: {key: id(value) for key, value in each} for each in found}


def datasets():
    return {name: id(DatasetCatalog[name]) for name in DatasetCatalog.list()}


before = registries(), datasets(), get_cfg().dump()
metadata = {name: dict(MetadataCatalog.get(name).as_dict()) for name in MetadataCatalog.list()}
assert "selfsam_d2" not in sys.modules
import selfsam_d2
from selfsam_d2.config import add_selfsam_config
after = registries(), datasets(), get_cfg().dump()


def leaves(node, path=""):
    for key, value in node.items():
        name = f"{path}{key}"
        if isinstance(value, dict):
            yield from leaves(value, name + ".")
        else:
            yield name, repr(value)


stock = dict(leaves(get_cfg()))
cfg = get_cfg()
add_selfsam_config(cfg)
ours = dict(leaves(cfg))
print(json.dumps({
    "registries": sorted(before[0]),
    "missing": sorted(set(before[0]) - set(after[0])),
    "changed": sorted(
        f"{name}.{key}"
        for name, entries in before[0].items()
        for key, value in entries.items()
        if after[0].get(name, {}).get(key) != value
    ),
    "added": {
        name: sorted(set(entries) - set(before[0].get(name, {})))
        for name, entries in after[0].items()
        if set(entries) - set(before[0].get(name, {}))
    },
    "datasets changed": [name for name, value in before[1].items() if after[1][name] != value],
    "datasets added": sorted(set(after[1]) - set(before[1])),
    "metadata changed": [
        name for name, value in metadata.items()
        if dict(MetadataCatalog.get(name).as_dict()) != value
    ],
    "config changed": before[2] != after[2],
    "stock keys changed": [name for name, value in stock.items() if ours.get(name) != value],
    "keys added": len(set(ours) - set(stock)),
    "imported early": "selfsam_d2.engine.trainer" in sys.modules,
    "public names that are missing": [
        name for name in selfsam_d2.__all__ if not hasattr(selfsam_d2, name)
    ],
    "a wrong name": hasattr(selfsam_d2, "NucleusPredictor"),
}))
"""


def test_nothing_of_detectron2_is_changed():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"BACKBONE", "META_ARCH", "ROI_HEADS", "SEM_SEG_HEADS"} <= set(found["registries"])
    for part in ("missing", "changed", "datasets changed", "metadata changed"):
        assert found[part] == []
    assert found["config changed"] is False
    assert found["stock keys changed"] == []
    assert found["keys added"] > 50
    assert found["imported early"] is False
    assert found["public names that are missing"] == []
    assert found["a wrong name"] is False
    added = found["added"]
    assert {name: set(added.pop(name)) for name in ADDED} == ADDED
    # What is left are registries of ours.
    assert added == {
        "NUCLEI_HEAD": ["ConvNucleiHead", "SAMNucleiHead"],
        "PSEUDO_LABEL": ["SelfRefiningLabels", "StaticSAMLabels", "VoronoiClusterLabels"],
    }
    assert found["datasets added"]
    assert all(
        name.rsplit("_", 1)[1] in ("train", "val", "test") for name in found["datasets added"]
    )
