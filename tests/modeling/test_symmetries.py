"""Averages over symmetries, with predictions that are known in closed form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsam_d2.losses.hv import hv_map
from selfsam_d2.modeling.symmetries import SYMMETRIES, average_over_symmetries


def exact(image):
    """Foreground and HV map of the ids in the first channel: equivariant by definition."""
    labels = image[0].long()
    return torch.cat([(labels > 0)[None].float(), hv_map(labels)])


@settings(max_examples=30, deadline=None)
@given(
    st.integers(3, 9),
    st.integers(3, 9),
    st.sampled_from(SYMMETRIES),
    st.integers(0, 2**31 - 1),
)
def test_what_turns_with_the_image_is_left_as_it_is(height, width, count, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 4, (height, width), generator=generator)
    image = ids.expand(3, -1, -1)
    found = average_over_symmetries(exact, image, count)
    assert torch.allclose(found, exact(image), atol=1e-6)


def test_each_orientation_is_seen_once():
    image = torch.arange(12.0).reshape(1, 3, 4).expand(3, -1, -1)
    for count in SYMMETRIES:
        seen = []

        def predict(turned, seen=seen):
            seen.append(turned[0])
            return turned

        average_over_symmetries(predict, image, count)
        assert len({tuple(each.flatten().tolist()) for each in seen}) == count
        assert torch.equal(seen[0], image[0])


def test_what_does_not_turn_is_averaged():
    image = torch.zeros(3, 2, 2)
    corner = torch.tensor([[1.0, 0.0], [0.0, 0.0]])

    def predict(turned):
        return torch.stack([corner, corner, corner])

    one = average_over_symmetries(predict, image, 1)
    four = average_over_symmetries(predict, image, 4)
    assert torch.equal(one[0], corner)
    assert torch.allclose(four[0], torch.full((2, 2), 0.25))
    # A component that always points right cancels out where it is mirrored.
    assert torch.allclose(four[1], torch.tensor([[0.25, -0.25], [0.25, -0.25]]))
    assert torch.allclose(four[2], torch.tensor([[0.25, 0.25], [-0.25, -0.25]]))


def test_other_counts_are_refused():
    with pytest.raises(ValueError, match=r"`count` to be one of \(1, 2, 4, 8\), but got 3"):
        average_over_symmetries(exact, torch.zeros(3, 2, 2), 3)
