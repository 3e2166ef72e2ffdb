"""HV maps against a loop written from their definition, and the loss on them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsam_d2.losses.hv import hv_map, hv_map_loss


def loop_hv_map(instance_map):
    """Per nucleus and axis: distance from the mean, each side divided by its largest."""
    height, width = instance_map.shape
    maps = torch.zeros(2, height, width, dtype=torch.float64)
    pixels = {}
    for row in range(height):
        for column in range(width):
            k = int(instance_map[row, column])
            if k > 0:
                pixels.setdefault(k, []).append((column, row))
    for members in pixels.values():
        for axis in (0, 1):
            centroid = sum(member[axis] for member in members) / len(members)
            distances = [member[axis] - centroid for member in members]
            for (column, row), distance in zip(members, distances, strict=True):
                side = [abs(d) for d in distances if d * distance > 0]
                maps[axis, row, column] = distance / max(side) if side else 0.0
    return maps


def random_map(seed, size=(17, 23), ids=(-1, 0, 1, 2, 3, 7, 40)):
    generator = torch.Generator().manual_seed(seed)
    return torch.tensor(ids)[torch.randint(len(ids), size, generator=generator)]


def disc(radius=6, size=19, k=1):
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return k * ((x - size // 2) ** 2 + (y - size // 2) ** 2 <= radius**2).long()


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_hv_map_equals_the_loop(seed):
    instance_map = random_map(seed)
    torch.testing.assert_close(hv_map(instance_map).double(), loop_hv_map(instance_map))


def test_hv_map_of_touching_shapes_equals_the_loop():
    instance_map = disc() + disc(radius=3, k=4)
    instance_map[:, 12:] *= 2
    torch.testing.assert_close(hv_map(instance_map).double(), loop_hv_map(instance_map))


def test_values_of_a_row():
    instance_map = torch.tensor([[0, 5, 5, 5, 5, -1]])
    expected = torch.tensor([[0, -1, -1 / 3, 1 / 3, 1, 0]])
    hv = hv_map(instance_map)
    torch.testing.assert_close(hv[0], expected)
    assert hv[1].eq(0).all()


def test_each_side_reaches_one_on_a_shape_that_is_not_symmetric():
    instance_map = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]])
    hv = hv_map(instance_map)
    assert hv.amin((1, 2)).tolist() == [-1, -1]
    assert hv.amax((1, 2)).tolist() == [1, 1]


@given(st.integers(0, 10_000), st.sampled_from([torch.uint8, torch.int16, torch.int32]))
@settings(max_examples=10, deadline=None)
def test_range_type_and_what_is_zero(seed, dtype):
    instance_map = random_map(seed, ids=(0, 1, 2, 9)).to(dtype)
    hv = hv_map(instance_map)
    assert hv.dtype == torch.float32
    assert hv.shape == (2, 17, 23)
    assert hv.abs().max() <= 1
    assert hv[:, instance_map == 0].eq(0).all()


def test_ignored_pixels_are_zero_and_change_no_nucleus():
    instance_map = disc()
    with_ignored = torch.where(instance_map == 0, -1, instance_map)
    assert torch.equal(hv_map(instance_map), hv_map(with_ignored))


def test_gaps_and_order_of_ids_do_not_matter():
    instance_map = random_map(3, ids=(0, 1, 2, 3))
    renamed = torch.tensor([0, 900, 17, 2**20])[instance_map]
    assert torch.equal(hv_map(instance_map), hv_map(renamed))


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_a_flip_changes_the_sign_of_its_axis_only(seed):
    instance_map = random_map(seed)
    hv = hv_map(instance_map)
    sign_x = torch.tensor([-1.0, 1.0])[:, None, None]
    assert torch.equal(hv_map(instance_map.flip(1)), sign_x * hv.flip(2))
    assert torch.equal(hv_map(instance_map.flip(0)), -sign_x * hv.flip(1))
    assert torch.equal(hv_map(instance_map.T), hv.flip(0).transpose(1, 2))


def test_the_centroid_column_is_exactly_zero():
    # Odd sizes at large positions: rounding must not leave a residue that is scaled up to 1.
    instance_map = torch.zeros(3, 1999, dtype=torch.int32)
    instance_map[:, 1500:1999] = 1
    instance_map[:, 7] = 2
    hv = hv_map(instance_map)
    assert hv[0, :, 1749].eq(0).all()
    assert hv[0, :, 7].eq(0).all()


def test_empty_maps():
    assert hv_map(torch.zeros(4, 5, dtype=torch.int32)).eq(0).all()
    assert hv_map(torch.zeros(0, 5, dtype=torch.int32)).shape == (2, 0, 5)


@pytest.mark.parametrize("bad", [torch.zeros(4, 5), torch.zeros(1, 4, 5, dtype=torch.int32)])
def test_hv_map_refuses_what_is_not_an_instance_map(bad):
    with pytest.raises(ValueError, match="instance_map"):
        hv_map(bad)


def loss_inputs(seed=0, size=(6, 7)):
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.randn(2, *size, generator=generator, dtype=torch.float64)
    target = torch.rand(2, *size, generator=generator, dtype=torch.float64) * 2 - 1
    foreground = torch.rand(size, generator=generator) > 0.6
    ignore_mask = torch.rand(size, generator=generator) > 0.7
    return prediction.requires_grad_(), target, foreground, ignore_mask


@pytest.mark.parametrize("seed", range(4))
def test_loss_equals_the_loop(seed):
    prediction, target, foreground, ignore_mask = loss_inputs(seed)
    difference = (prediction - target).detach()
    errors = {True: [], False: []}
    for row in range(6):
        for column in range(7):
            if not ignore_mask[row, column]:
                errors[bool(foreground[row, column])] += [
                    abs(float(difference[axis, row, column])) for axis in (0, 1)
                ]
    expected = sum(sum(part) / len(part) for part in errors.values())
    loss = hv_map_loss(prediction, target, foreground, ignore_mask)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_ignored_pixels_do_not_count():
    prediction, target, foreground, ignore_mask = loss_inputs()
    spoilt = prediction.detach().clone()
    spoilt[:, ignore_mask] = torch.nan
    spoilt.requires_grad_()
    loss = hv_map_loss(spoilt, target, foreground, ignore_mask)
    assert loss == hv_map_loss(prediction, target, foreground, ignore_mask)
    loss.backward()
    assert spoilt.grad[:, ignore_mask].eq(0).all()
    assert spoilt.grad[:, ~ignore_mask].ne(0).all()


def test_both_regions_weigh_the_same():
    foreground = torch.zeros(10, 10, dtype=torch.bool)
    foreground[0, 0] = True
    prediction = torch.zeros(2, 10, 10)
    prediction[:, 0, 0] = 1.0
    kept = torch.zeros_like(foreground)
    assert hv_map_loss(prediction, torch.zeros(2, 10, 10), foreground, kept) == 1.0


def test_gradcheck():
    prediction, target, foreground, ignore_mask = loss_inputs(5)
    assert torch.autograd.gradcheck(
        lambda p: hv_map_loss(p, target, foreground, ignore_mask), (prediction,)
    )


def test_nothing_to_act_on_is_a_zero_that_keeps_the_graph():
    prediction, target, foreground, ignore_mask = loss_inputs()
    loss = hv_map_loss(prediction, target, foreground, torch.ones_like(ignore_mask))
    loss.backward()
    assert loss == 0
    assert prediction.grad.eq(0).all()


def test_no_foreground_leaves_the_background_mean():
    prediction, target, foreground, ignore_mask = loss_inputs()
    none = torch.zeros_like(foreground)
    loss = hv_map_loss(prediction, target, none, ignore_mask)
    expected = (prediction - target).abs()[:, ~ignore_mask].mean()
    torch.testing.assert_close(loss, expected)


def test_half_precision_is_summed_in_float32():
    prediction = torch.full((2, 300, 300), 3.0, dtype=torch.float16)
    mask = torch.zeros(300, 300, dtype=torch.bool)
    loss = hv_map_loss(prediction, torch.zeros(2, 300, 300), mask, mask)
    assert loss.dtype == torch.float32
    assert loss == 3.0


@pytest.mark.parametrize(
    ("position", "bad"),
    [
        (0, torch.zeros(3, 6, 7)),
        (1, torch.zeros(2, 6, 8)),
        (2, torch.zeros(6, 7)),
        (3, torch.zeros(7, 6, dtype=torch.bool)),
    ],
)
def test_loss_refuses_other_shapes(position, bad):
    arguments = list(loss_inputs())
    arguments[position] = bad
    names = ["prediction", "target", "foreground", "ignore_mask"]
    with pytest.raises(ValueError, match=names[position]):
        hv_map_loss(*arguments)
