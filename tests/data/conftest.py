"""Two made images and their COCO object."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from selfsam_d2.data.coco_json import coco_from_instance_maps

HEIGHT, WIDTH = 12, 17
INSTANCE_MAP = np.zeros((HEIGHT, WIDTH), dtype=np.int32)
INSTANCE_MAP[1:5, 2:6] = 4
INSTANCE_MAP[3:12, 10:17] = 9  # reaches two borders
INSTANCE_MAP[0, 0] = 11
INSTANCE_MAP[8:11, 1] = 20
INSTANCE_MAP[8, 3:6] = 20  # in two pieces


@pytest.fixture
def instance_map():
    """(12, 17), four nuclei with gaps in their ids."""
    return INSTANCE_MAP.copy()


@pytest.fixture
def folder(tmp_path):
    """A folder with the images a.png and b.png."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT), (200, 100, 180)).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def two_images(instance_map):
    """Function: the COCO object of both images, the second one mirrored."""

    def build(points_only=False):
        items = [("a.png", instance_map), ("b.png", instance_map[::-1])]
        return coco_from_instance_maps(items, points_only=points_only)

    return build
