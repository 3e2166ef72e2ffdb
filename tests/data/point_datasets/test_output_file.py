"""No file of the user's is replaced by the dataset."""

from __future__ import annotations

import json
import os

import pytest

from selfsam_d2.data.point_datasets.output_file import INFO, check_output, is_earlier_output
from selfsam_d2.errors import InputError


@pytest.fixture
def files(tmp_path):
    image, points = tmp_path / "a.png", tmp_path / "a.json"
    image.write_bytes(b"image")
    points.write_text("{}")
    return image, points


def test_files_that_are_read_stay(tmp_path, files):
    image, points = files
    (tmp_path / "link.json").symlink_to(points)
    os.link(points, tmp_path / "hard.json")
    for name, what in (
        ("a.png", f"the image {image}"),
        ("a.json", f"the point file {points}"),
        ("link.json", f"the point file {points}"),
        ("hard.json", f"the point file {points}"),
    ):
        output = tmp_path / name
        with pytest.raises(InputError) as caught:
            check_output(output, [image], [points])
        assert str(caught.value) == (
            f"{output}: is {what}, which would be lost; give another --output"
        )


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", json.dumps({"info": {"description": "nuclei as points"}}), '{"info": 3}'],
)
def test_other_files_stay(tmp_path, files, content):
    output = tmp_path / "other.json"
    output.write_text(content)
    assert not is_earlier_output(output)
    with pytest.raises(InputError, match=r"is there already and no dataset made of points; give"):
        check_output(output, [files[0]], [files[1]])
    output.unlink()
    output.mkdir()
    with pytest.raises(InputError, match="is there already"):
        check_output(output, [files[0]], [files[1]])


def test_an_earlier_dataset_is_replaced_unless_it_is_read(tmp_path, files):
    output = tmp_path / "train.json"
    check_output(output, [files[0]], [files[1]])
    output.write_text(json.dumps({"info": INFO, "images": []}))
    check_output(output, [files[0]], [files[1]])
    with pytest.raises(InputError, match="is the point file"):
        check_output(output, [files[0]], [output])
