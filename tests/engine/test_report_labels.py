"""The table of the labels: shares in %, and a line instead of a column of equal numbers."""

from __future__ import annotations

import pytest

from selfsam_d2.engine.report_labels import Column, table_of_columns

PIXELS = "% of the pixels"


def test_columns_that_differ_are_a_table_and_the_others_a_line():
    columns = [
        Column("alpha", "", [1.0, 1.0]),
        Column("ignored", PIXELS, [0.081, 0.09]),
        Column("recovered", PIXELS, [0.00001, 0.00002]),  # the same as shown
        Column("unknown", PIXELS, [None, None]),
        Column("changed", PIXELS, [None, 0.5]),
    ]
    line, table = table_of_columns("epoch", ["0", "1"], columns)
    assert line == "The same for each epoch: alpha 1.00, recovered 0.00 % of the pixels."
    assert table.header == ("epoch", "ignored, % of the pixels", "changed, % of the pixels")
    assert table.rows == [("0", pytest.approx(8.1), None), ("1", pytest.approx(9.0), 50.0)]
    assert table.digits == 2


def test_a_single_row_is_a_line():
    columns = [Column("alpha", "", [0.5]), Column("points", "% of the points", [0.25])]
    assert table_of_columns("epoch", ["3"], columns) == [
        "For epoch 3: alpha 0.50, points 25.00 % of the points."
    ]


def test_nothing_is_the_same():
    (table,) = table_of_columns("epoch", ["0", "1"], [Column("alpha", "", [1.0, 0.5])])
    assert table.rows == [("0", 1.0), ("1", 0.5)]


def test_nothing_is_known():
    assert table_of_columns("epoch", ["0", "1"], [Column("alpha", "", [None, None])]) == []
