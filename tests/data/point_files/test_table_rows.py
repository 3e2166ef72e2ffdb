"""Where rows of a table end, and that a message quotes the beginning of what a file holds."""

from __future__ import annotations

import json

import pytest

from selfsam_d2.data.imagescope_xml import read_imagescope_polygons
from selfsam_d2.data.point_datasets.pairs import StrayPoints
from selfsam_d2.data.point_files.formats import read_point_file
from selfsam_d2.data.point_files.point_set import ReadOptions
from selfsam_d2.data.point_files.table_rows import parse_table
from selfsam_d2.errors import InputError

LONG = "9" * 5000
IMAGE = {"id": 1, "file_name": "a.png"}
# What str.splitlines takes for the end of a line, and CSV does not.
SEPARATORS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


def read(tmp_path, content):
    path = tmp_path / "a.txt"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return read_point_file(path, ReadOptions())


@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_cell_may_hold_separators_of_unicode(tmp_path, separator):
    text = f"x,y,class{separator}\n1,2,tumour{separator}cell\n3,4,b\n"
    found = read(tmp_path, text)[None]
    assert found.points == [(1, 2), (3, 4)]
    assert found.classes == [f"tumour{separator}cell", "b"]
    with pytest.raises(InputError, match="line 4 has 'five' where"):
        read(tmp_path, f"{text}five,6,c\n")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_lines_of_all_systems_are_rows(tmp_path, end):
    table = parse_table(tmp_path, end.join(["", "x;y", "1;2", "", '"3";"4', '";5', ""]))
    assert table.header == ["x", "y"]
    assert table.rows == [(3, ["1", "2"]), (6, ["3", f"4{end}", "5"])]


@pytest.mark.parametrize(
    "content",
    [
        f"x,y\n1,{LONG}\n",
        f"x,y\n1,a{LONG}\n",
        f"a,{LONG}\n1,2\n",
        f"x,y,num points\n1,2,{LONG}\n",
        [{"type": "Feature", "geometry": {"type": LONG}}],
        {"shapes": [{"points": [[1, 2]], "shape_type": LONG}]},
        {"images": [{"id": 1, "names": LONG}], "annotations": []},
        {"images": [IMAGE], "annotations": [{"id": LONG, "image_id": 1}]},
        {"images": [IMAGE], "annotations": [{"id": 1, "image_id": LONG}]},
    ],
)
def test_what_a_file_holds_is_quoted_in_part(tmp_path, content):
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    line = str(caught.value).removeprefix(f"{tmp_path / 'a.txt'}: ")
    assert len(line) < 500


def test_a_long_name_is_quoted_in_part(tmp_path):
    assert len(str(StrayPoints(tmp_path / "a.csv", LONG))) < 400
    assert str(StrayPoints(tmp_path / "a.csv", "b.png")) == "b.png in a.csv"
    region = f'<Region Id="{LONG}"><Vertices><Vertex X="1"/></Vertices></Region>'
    xml = f"<Annotations><Annotation><Regions>{region}</Regions></Annotation></Annotations>"
    entity = f'<!DOCTYPE a [<!ENTITY b "{LONG}">]><a>&b;</a>'
    for content in (xml, entity):
        (tmp_path / "a.xml").write_text(content)
        with pytest.raises(InputError) as caught:
            read_imagescope_polygons(tmp_path / "a.xml")
        assert len(str(caught.value)) < 600
