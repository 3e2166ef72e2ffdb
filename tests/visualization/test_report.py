from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from selfsam_d2.errors import InputError, OutputError
from selfsam_d2.visualization.report import Picture, Report, render_report, write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects tags, attributes and text; checks that what is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text, self.rows = [], [], "", []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture
def report(tmp_path):
    pictures = []
    for value, wide in ((10, False), (200, True)):
        path = tmp_path / f"{value}.png"
        Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(path)
        pictures.append(Picture(path, f"picture <i>{value}", "<em>a</em> & b", wide=wide))
    return Report(
        title="Title <script>alert(1)</script>",
        introduction=["one & two", "<b>three</b>"],
        before={"Dice": 0.5, "AJI": 0.25, "SQ": None, "F<1>": 0.5},
        after={"Dice": 0.75, "AJI": 0.125, "SQ": 0.5, "F<1>": 0.5},
        timings={"train & draw": 61.25, "rest": 8.75},
        facts={"weights": "<none>"},
        pictures=pictures,
        config="KEY: '<value> & \"more\"'",
    )


def test_page_needs_nothing_from_outside(report, tmp_path):
    path = tmp_path / "report.html"
    write_report(report, path)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "object", "a"} & set(tags)
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert value.startswith("data:image/png;base64,")
    assert not re.search(r"https?:|url\(|@import", text)
    assert str(tmp_path) not in text


def test_pictures_are_inside_in_order_with_a_text_alternative(report):
    page = Page(render_report(report))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [each["alt"] for each in images] == ["picture <i>10", "picture <i>200"]
    for attributes, value in zip(images, (10, 200), strict=True):
        data = base64.b64decode(attributes["src"].split(",", 1)[1], validate=True)
        picture = np.asarray(Image.open(io.BytesIO(data)))
        assert picture.shape == (4, 6, 3)
        assert (picture == value).all()


def test_texts_are_escaped(report):
    text = render_report(report)
    page = Page(text)
    assert "<script" not in text
    assert "<b>" not in text
    for expected in (
        report.title,
        *report.introduction,
        "picture <i>10",
        "<em>a</em> & b",
        report.config,
        "<none>",
    ):
        assert expected in page.text


def test_tables_hold_the_numbers(report):
    rows = {row[0]: row[1:] for row in Page(render_report(report)).rows}
    assert rows["Dice"][:3] == ["0.5000", "0.7500", "+0.2500"]
    assert rows["AJI"][:3] == ["0.2500", "0.1250", "-0.1250"]
    assert rows["SQ"][:3] == ["–", "0.5000", "–"]
    assert rows["F<1>"][:3] == ["0.5000", "0.5000", "+0.0000"]
    assert rows["train & draw"] == ["61.2"]
    assert rows["all together"] == ["70.0"]
    assert rows["weights"] == ["<none>"]


def test_rise_and_fall_are_marked(report):
    text = render_report(report)
    assert '<span class="up">+0.2500</span>' in text
    assert '<span class="down">-0.1250</span>' in text
    assert '<span class="">+0.0000</span>' in text


def test_says_what_cannot_be_read_or_written(report, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(report, tmp_path / "file" / "report.html")
    report.pictures[0].path.unlink()
    with pytest.raises(InputError, match=r"10\.png: cannot be read"):
        render_report(report)
