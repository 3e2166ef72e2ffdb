"""Crop-based epochs: how many crops, in which order, from where."""

from collections import Counter
from itertools import islice

import pytest

from selfsam_d2.data.schedule import CropSchedule, PositionSampler, crops_per_image


def schedule(batch_size=1, seed=0):
    records = [
        {"file_name": "small", "height": 100, "width": 100},
        {"file_name": "large", "height": 1000, "width": 1000},
    ]
    return CropSchedule(records, crop=224, seed=seed, batch_size=batch_size)


@pytest.mark.parametrize(
    ("height", "width", "crops"), [(1000, 1000, 20), (512, 512, 5), (224, 224, 1), (50, 50, 1)]
)
def test_an_epoch_shows_each_pixel_about_once(height, width, crops):
    assert crops_per_image(height, width, 224) == crops


def test_each_epoch_holds_the_same_crops_in_another_order():
    crops = schedule()
    epochs = [[crops[e * 21 + i]["file_name"] for i in range(21)] for e in range(3)]
    assert crops.crops_per_epoch == 21
    for epoch in epochs:
        assert Counter(epoch) == {"small": 1, "large": 20}
    assert len({epoch.index("small") for epoch in epochs}) > 1


@pytest.mark.parametrize(("least", "times"), [(0, 1), (21, 1), (22, 2), (42, 2), (43, 3)])
def test_few_crops_are_shown_equally_often_until_they_are_enough(least, times):
    crops = CropSchedule(schedule().records, crop=224, seed=0, min_crops_per_epoch=least)
    assert crops.crops_per_epoch == 21 * times >= least
    for epoch in range(2):
        names = Counter(crops[epoch * 21 * times + i]["file_name"] for i in range(21 * times))
        assert names == {"small": times, "large": 20 * times}
    assert crops[21 * times]["epoch"] == 1


def test_a_position_is_the_same_whoever_asks():
    first, second = schedule(), schedule()
    assert first[1234] == second[1234]
    assert first[1234]["position"] == 1234
    assert any(first[i] != schedule(seed=1)[i] for i in range(21))


def test_a_step_belongs_to_the_epoch_of_its_first_crop():
    crops = schedule(batch_size=4)
    epochs = [crops[position]["epoch"] for position in range(48)]
    assert epochs[20:24] == [0, 0, 0, 0]  # crop 21 opens epoch 1 but its step began in epoch 0
    assert epochs[24] == 1
    assert [crops.epoch_of_step(step) for step in (5, 6, 10, 11)] == [0, 1, 1, 2]


def test_the_sampler_starts_anywhere_and_shares_out():
    sampler = PositionSampler()
    sampler.start = 7
    assert list(islice(sampler, 3)) == [7, 8, 9]
    ranks = [PositionSampler(rank, 2) for rank in range(2)]
    assert [list(islice(rank, 3)) for rank in ranks] == [[0, 2, 4], [1, 3, 5]]
