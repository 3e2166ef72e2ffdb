"""The table of overlaps against counting."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfsam_d2.evaluation.contingency import ContingencyTable

maps = arrays(np.int32, (5, 6), elements=st.sampled_from([0, 2, 3, 11, 500]))


@settings(deadline=None, max_examples=60)
@given(maps, maps)
def test_counts(true, pred):
    table = ContingencyTable.from_maps(true, pred)
    true_ids = [value for value in np.unique(true) if value]
    pred_ids = [value for value in np.unique(pred) if value]
    assert table.true_areas.tolist() == [int((true == value).sum()) for value in true_ids]
    assert table.pred_areas.tolist() == [int((pred == value).sum()) for value in pred_ids]
    expected = [
        (i, j, int(((true == a) & (pred == b)).sum()), int(((true == a) | (pred == b)).sum()))
        for i, a in enumerate(true_ids)
        for j, b in enumerate(pred_ids)
        if ((true == a) & (pred == b)).any()
    ]
    columns = (table.true_index, table.pred_index, table.overlaps, table.unions)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected


@settings(deadline=None, max_examples=40)
@given(maps, maps)
def test_transposed_is_the_table_of_exchanged_maps(true, pred):
    transposed = ContingencyTable.from_maps(true, pred).transposed()
    exchanged = ContingencyTable.from_maps(pred, true)
    for name in ("true_areas", "pred_areas", "true_index", "pred_index", "overlaps"):
        np.testing.assert_array_equal(getattr(transposed, name), getattr(exchanged, name))


def test_best_overlap_of_equal_ones_is_the_lower_id():
    true = np.array([[1, 1, 2, 2]])
    pred = np.array([[9, 4, 4, 4]])
    table = ContingencyTable.from_maps(true, pred)
    best = table.best_overlaps(table.overlaps)
    assert table.pred_index[best].tolist() == [0, 0]
