"""Every reader of files, of users' and of what this package keeps, with a file that it reads."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import yaml
from PIL import Image
from pycocotools import mask as mask_util
from scipy.io import savemat

from selfsam_d2.data.coco_json import load_coco_json
from selfsam_d2.data.images import read_image
from selfsam_d2.data.imagescope_xml import rasterise_polygons, read_imagescope_polygons
from selfsam_d2.data.point_files.formats import read_point_file
from selfsam_d2.data.point_files.point_set import ReadOptions
from selfsam_d2.engine.checks import check_config
from selfsam_d2.engine.finished_run import read_run
from selfsam_d2.engine.setup import load_config
from selfsam_d2.slides.backends import open_slide
from selfsam_d2.structures.label_maps import read_label_map
from selfsam_d2.weights.resolve import read_checkpoint
from tests.fuzz.own_files import OWN_FILES
from tests.fuzz.reader import Reader
from tests.fuzz.slide_files import SLIDE_FILES
from tests.fuzz.weights_files import WEIGHTS_FILES

SIDE = 16
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
LABELS = np.kron(np.arange(4).reshape(2, 2), np.ones((SIDE // 2, SIDE // 2), int))
COMPRESSED = mask_util.encode(np.asfortranarray(LABELS == 3, dtype=np.uint8))["counts"].decode()
SQUARE = [[2, 2], [9, 2], [9, 9], [2, 9], [2, 2]]


def _image(image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, image_format, **options)
    return file.getvalue()


def _with(write: Callable[[io.BytesIO], Any]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def _points(path: Path) -> None:
    for found in read_point_file(path, ReadOptions()).values():
        found.xy()


def _coco(path: Path) -> None:
    image = path.with_name("a.png")
    if not image.exists():
        image.write_bytes(_image("PNG"))
    load_coco_json(path, path.parent)


def _outlines(path: Path) -> None:
    rasterise_polygons(read_imagescope_polygons(path), (SIDE, SIDE))


def _slide(path: Path) -> None:
    with open_slide(path) as slide:
        slide.read_region(0, 0, SIDE, SIDE)


def _config(path: Path) -> None:
    check_config(load_config(str(path), ["INPUT.FORMAT", "RGB"]))


def _run(path: Path) -> None:
    config = path.with_name("config.yaml")
    if not config.exists():
        config.write_text(load_config("", []).dump())
    read_run(path.parent)


def _feature(kind: str, coordinates: Any, **properties: Any) -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


GEOJSON = {
    "type": "FeatureCollection",
    "features": [
        _feature("Point", [1.5, 2], classification={"name": "Tumor", "color": [1, 2, 3]}),
        _feature("MultiPoint", [[3, 4], [5, 6, 0]], classification={"names": ["a", "b"]}),
        _feature("Polygon", [SQUARE], objectType="annotation", isLocked=False),
        _feature("MultiPolygon", [[SQUARE], [[[x + 20, y] for x, y in SQUARE]]]),
    ],
}
COCO = {
    "info": {"description": "x"},
    "images": [
        {"id": 1, "file_name": "a.png", "height": SIDE, "width": SIDE, "microns_per_pixel": 0.25}
    ],
    "categories": [{"id": 1, "name": "nucleus"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "point": [3.5, 4]},
        {
            **{"id": 2, "image_id": 1, "category_id": 1, "area": 49, "bbox": [2, 2, 7, 7]},
            **{"segmentation": [[2, 2, 9, 2, 9, 9, 2, 9]], "iscrowd": 0},
        },
        {
            **{"id": 3, "image_id": 1, "iscrowd": 1},
            "segmentation": {"size": [SIDE, SIDE], "counts": [30, 5, 221]},
        },
        {
            **{"id": 4, "image_id": 1, "iscrowd": 0},
            "segmentation": {"size": [SIDE, SIDE], "counts": COMPRESSED},
        },
    ],
}
KEYPOINTS = {
    "images": [{"id": 1, "file_name": "x/a.png"}, {"id": "two", "file_name": "b.png"}],
    "annotations": [
        {"id": 1, "image_id": 1, "keypoints": [10, 20, 2, 0, 0, 0, 30, 40, 1]},
        {"id": 2, "image_id": "two", "category_id": 3, "point": [7.25, 8]},
    ],
    "categories": [{"id": 3, "name": "nucleus"}],
}
LABELME = {
    "version": "5.0.1",
    "imagePath": "a.png",
    "shapes": [
        {"label": "nucleus", "points": [[4, 5]], "shape_type": "point"},
        {"label": "region", "points": [[50, 60], [10, 20]], "shape_type": "rectangle"},
        {"label": "region", "points": SQUARE[:4], "shape_type": "polygon"},
    ],
}
CSV = b'Image,Class,"Centroid X px","Centroid Y px"\na.png,Tumor,3,4.5\nb.png,,1e1,2.5\n'
NAPARI = b"index,axis-0,axis-1\n0.0,12.5,3.25\n1.0,4.0,5.0\n"
XML = (
    b'<?xml version="1.0" encoding="UTF-8"?><Annotations MicronsPerPixel="0.25">'
    b'<Annotation Id="1"><Regions><Region Id="1"><Vertices><Vertex X="2" Y="2"/>'
    b'<Vertex X="9" Y="2.5"/><Vertex X="9" Y="9"/></Vertices></Region>'
    b'<Region Id="2"><Vertices><Vertex X="1" Y="3"/></Vertices></Region>'
    b"</Regions></Annotation></Annotations>"
)
METRICS = {"iteration": 19, "total_loss": 1.5, "nuclei/AJI": 0.5, "lr": 0.001, "alpha": 1.0}
STATE = {"model": {"a": torch.ones(3), "b": torch.arange(4)}, "iteration": 3, "__author__": "x"}


READERS = {
    "QuPath": Reader("a.geojson", GEOJSON, _points),
    "keypoints": Reader("a.json", KEYPOINTS, _points),
    "LabelMe": Reader("a.json", LABELME, _points),
    "COCO": Reader("coco.json", COCO, _coco),
    "config": Reader(
        "config.yaml",
        {"INPUT": {"NUCLEI": {"SHIFT": 8}}, "DATASETS": {"TRAIN": ["a"]}, "VERSION": 2},
        _config,
        subjects=(": ",),  # a key
    ),
    "metrics": Reader("metrics.json", METRICS, _run),
    "table": Reader("a.csv", CSV, _points),
    "napari": Reader("a.csv", NAPARI, _points),
    "QuPath, bytes": Reader("a.geojson", json.dumps(GEOJSON).encode(), _points),
    "COCO, bytes": Reader("coco.json", json.dumps(COCO).encode(), _coco),
    "ImageScope": Reader("a.xml", XML, _outlines),
    "YAML, bytes": Reader(
        "config.yaml",
        yaml.safe_dump({"INPUT": {"NUCLEI": {"SHIFT": 8}}}).encode(),
        _config,
        (": ",),
    ),
    "PNG": Reader("a.png", _image("PNG"), read_image),
    "JPEG": Reader("a.jpg", _image("JPEG"), read_image),
    "TIFF": Reader("a.tif", _image("TIFF", compression="tiff_lzw"), read_image),
    "label PNG": Reader(
        "a.png",
        _with(lambda file: Image.fromarray(LABELS.astype(np.uint16)).save(file, "PNG")),
        read_label_map,
    ),
    "label TIFF": Reader(
        "a.tif",
        _with(lambda file: tifffile.imwrite(file, LABELS.astype(np.int32), compression="zlib")),
        read_label_map,
    ),
    "npy": Reader("a.npy", _with(lambda file: np.save(file, LABELS)), read_label_map),
    "mat": Reader("a.mat", _with(lambda file: savemat(file, {"inst_map": LABELS})), read_label_map),
    "weights": Reader("a.pth", _with(lambda file: torch.save(STATE, file)), read_checkpoint),
    "slide": Reader(
        "a.ome.tif",
        _with(
            lambda file: tifffile.imwrite(
                *(file, np.tile(IMAGE, (4, 4, 1))),
                **{"ome": True, "tile": (16, 16), "compression": "zlib", "photometric": "rgb"},
                metadata={"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
            )
        ),
        _slide,
    ),
    **OWN_FILES,
    **SLIDE_FILES,
    **WEIGHTS_FILES,
}
