"""Make COCO JSON files of nuclei known to Detectron2 by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from detectron2.data import DatasetCatalog, MetadataCatalog

from selfsam_d2.data.coco_json import CATEGORY, load_coco_json
from selfsam_d2.data.splits import BUILTIN_SPLITS
from selfsam_d2.errors import InputError
from selfsam_d2.structures.centre import CENTRE_RULES

__all__ = [
    "DatasetPaths",
    "builtin_paths",
    "dataset_root",
    "register_builtin_datasets",
    "register_nuclei_instances",
]

# Dataset -> where its script finds the published files; datasets/README.md has other forms.
PUBLISHED_FORM = {
    "monuseg": "--images DIR --annotations DIR",
    "cpm17": "--images DIR --labels DIR",
    "consep": "--images DIR --labels DIR",
    "tnbc": "--images TNBC_NucleiSegmentation",
}


class DatasetPaths(NamedTuple):
    """Where one split of a built-in dataset lies."""

    json_file: Path
    image_root: Path


def dataset_root() -> Path:
    """The folder of all datasets: ``$DETECTRON2_DATASETS``, or ``datasets``."""
    return Path(os.environ.get("DETECTRON2_DATASETS") or "datasets")


def builtin_paths(dataset: str, split: str, root: str | Path | None = None) -> DatasetPaths:
    """The JSON and the image folder of a split below ``root`` (default :func:`dataset_root`)."""
    folder = (dataset_root() if root is None else Path(root)) / dataset
    return DatasetPaths(
        folder / "annotations" / f"{dataset}_{split}.json", folder / split / "images"
    )


def register_nuclei_instances(
    name: str, json_file: str | Path, image_root: str | Path, centre: str = "centroid"
) -> None:
    """Register a COCO JSON of nuclei as the Detectron2 dataset ``name``; no file is touched yet.

    The metadata hold ``evaluator_type`` "nuclei", ``thing_classes``,
    ``thing_dataset_id_to_contiguous_id``, ``json_file``, ``image_root`` and ``centre_rule``.
    Registering the same once more does nothing.

    Args:
        name: the name for ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        json_file: COCO JSON, see :func:`~selfsam_d2.data.coco_json.load_coco_json`.
        image_root: folder below which the file names of the JSON are.
        centre: rule that makes a point from a mask where the JSON has none.

    Raises:
        InputError: ``name`` stands for something else already, or ``centre`` is unknown.
    """
    _register(name, json_file, image_root, centre)


def register_builtin_datasets(root: str | Path | None = None) -> None:
    """Register ``monuseg_train``, ``cpm17_test`` and all else of ``BUILTIN_SPLITS`` below ``root``.

    Nothing on disk is touched: a dataset that was not prepared says so when it is used.

    Args:
        root: folder of all datasets, by default :func:`dataset_root`.

    Raises:
        InputError: one of the names stands for something else already, e.g. for another root.
    """
    for dataset, splits in BUILTIN_SPLITS.items():
        for split in splits:
            paths = builtin_paths(dataset, split, root)
            command = (
                f"python datasets/prepare_{dataset}.py {PUBLISHED_FORM[dataset]} --split {split} "
                f"--output {paths.json_file.parents[2]}"
            )
            _register(f"{dataset}_{split}", *paths, make_command=command)


def _register(
    name: str,
    json_file: str | Path,
    image_root: str | Path,
    centre: str = "centroid",
    make_command: str | None = None,
) -> None:
    if centre not in CENTRE_RULES:
        raise InputError(
            f'centre rule "{centre}"', f"unknown; use one of {', '.join(CENTRE_RULES)}"
        )
    arguments = {
        "json_file": os.path.abspath(json_file),
        "image_root": os.path.abspath(image_root),
        "centre_rule": centre,
    }
    if name in DatasetCatalog:
        known = MetadataCatalog.get(name)
        if any(known.get(key, None) != value for key, value in arguments.items()):
            raise InputError(
                f'dataset "{name}"',
                f"registered already, as {known.get('json_file', 'another kind of dataset')} with "
                f"images in {known.get('image_root', 'another folder')}; choose another name",
            )
        return

    def load() -> list[dict[str, Any]]:
        if make_command is not None and not os.path.isfile(arguments["json_file"]):
            raise InputError(
                arguments["json_file"], f"dataset {name} is not prepared; run: {make_command}"
            )
        return load_coco_json(arguments["json_file"], arguments["image_root"], centre)

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        **arguments,
        evaluator_type="nuclei",
        thing_classes=[CATEGORY["name"]],
        thing_dataset_id_to_contiguous_id={CATEGORY["id"]: 0},
    )
