"""One part for each nucleus, against a search pixel by pixel."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from selfsam_d2.pseudo_labels.parts import keep_one_part
from selfsam_d2.pseudo_labels.prompt_label import make_prompt_label

maps = arrays.arrays(
    np.int64,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.sampled_from([0, 0, 1, 1, 2, 3]),
)


def flood(mask, start, seen):
    """The 4-connected pixels of a mask around one of them."""
    waiting, found = [start], []
    while waiting:
        row, column = waiting.pop()
        inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
        if not inside or not mask[row, column] or (row, column) in seen:
            continue
        seen.add((row, column))
        found.append((row, column))
        waiting += [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return found


def parts_of(mask):
    seen = set()
    pixels = [tuple(map(int, each)) for each in np.argwhere(mask)]
    return [part for pixel in pixels if (part := flood(mask, pixel, seen))]


def by_hand(ids):
    kept = np.zeros_like(ids)
    for nucleus in sorted(set(ids.ravel()) - {0}):
        for pixel in max(parts_of(ids == nucleus), key=len):
            kept[pixel] = nucleus
    filled = kept.copy()
    for nucleus in sorted(set(ids.ravel()) - {0}):
        outside = np.pad(kept != nucleus, 1, constant_values=True)
        reached = np.zeros_like(outside)
        for pixel in flood(outside, (0, 0), set()):
            reached[pixel] = True
        filled[(filled == 0) & ~reached[1:-1, 1:-1]] = nucleus
    return filled


@settings(max_examples=200, deadline=None)
@given(maps)
def test_parts_and_holes_are_those_of_a_search(ids):
    found = keep_one_part(torch.from_numpy(ids)).numpy()
    expected = by_hand(ids)
    enclosed = (expected != found) & (ids == 0)
    # Background inside two nuclei, one around the other, may go to either.
    assert np.array_equal(found[~enclosed], expected[~enclosed])
    assert (found[enclosed] > 0).all()
    assert set(np.unique(found)) >= set(np.unique(ids)) - {0}


def test_a_label_may_keep_one_part_of_each_nucleus():
    targets = torch.zeros(1, 5, 8)
    targets[0, :, :4] = 0.9
    targets[0, 2, 2] = 0.1
    targets[0, 0, 6] = 0.9
    plain, whole = (make_prompt_label(targets, one_part=flag).labels for flag in (False, True))
    assert (plain[2, 2], plain[0, 6]) == (0, 1)
    assert (whole[2, 2], whole[0, 6]) == (1, 0)
    assert torch.equal(whole[:, :4], torch.ones(5, 4, dtype=torch.int64))


def test_only_maps_of_nuclei_are_taken():
    with pytest.raises(ValueError, match="without negative ids"):
        keep_one_part(torch.full((3, 3), -1))
    with pytest.raises(ValueError, match=r"\(1, 3, 3\)"):
        keep_one_part(torch.zeros(1, 3, 3, dtype=torch.int64))


def test_a_nucleus_inside_another_stays():
    ids = torch.zeros(10, 7, dtype=torch.int64)
    ids[0, 0] = 2  # seen before the nucleus around it
    ids[2:9] = 1
    ids[3:8, 1:6] = 0
    ids[5, 2:5] = 2
    expected = torch.zeros_like(ids)
    expected[2:9] = 1
    expected[5, 2:5] = 2
    assert torch.equal(keep_one_part(ids), expected)
