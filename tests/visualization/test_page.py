from __future__ import annotations

import base64
import hashlib
import re

import numpy as np
import pytest
from PIL import Image

from selfsam_d2.visualization.page import (
    Cell,
    Folded,
    Page,
    Picture,
    Section,
    Table,
    render_page,
)


def page_of(*parts):
    return render_page(Page("T & t", ["<u>"], [Section("S <s>", parts)]))


def test_texts_of_every_part_are_escaped(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(path)
    text = page_of(
        "<q>1</q>",
        Table(("<q>2",), [["<q>3"], [Cell("<q>4", "<q>")]], footer=[["<q>5"]]),
        Folded("<q>6", "<q>7"),
        Picture(
            *(path, "<q>8", "<q>9"),
            legend=[("<q>10", (1, 2, 3))],
            terms=[("<q>11", "<q>12")],
        ),
    )
    assert not re.search(r"<[uqs]>", text)
    for number in range(1, 13):
        assert f"&lt;q&gt;{number}" in text
    assert "rgb(1, 2, 3)" in text
    assert "data:image/jpeg;base64," in text


@pytest.mark.parametrize("sortable", [False, True])
def test_no_script_but_that_of_a_sorted_table_may_run(sortable):
    text = page_of(Table(("a", "b"), [("x", 1)], sortable=sortable))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert len(scripts) == sortable
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in policy
    assert ("script-src" in policy) == sortable


def test_cells_are_shown_by_their_type():
    table = Table(("n", "v"), [("a", 0.12345), ("b", 7), ("c", None)], [("d", 1.0)], digits=2)
    text = page_of(table)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", text)
    assert cells == ["a", "0.12", "b", "7", "c", "–", "d", "1.00"]
    assert text.index("</tbody>") < text.index(">d<") < text.index("</tfoot>")
    assert '<th scope="col" class="text">n</th><th scope="col">v</th>' in text


def test_symbols_are_explained_below_their_picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(path)
    text = page_of(Picture(path, "a", "b", terms=[("L_P", "one"), ("HV", "two")]))
    terms = "<dl><dt>L_P</dt><dd>one</dd><dt>HV</dt><dd>two</dd></dl>"
    assert text.index("<img") < text.index(terms) < text.index("</figure>")
    assert "<dl>" not in page_of(Picture(path, "a", "b"))
