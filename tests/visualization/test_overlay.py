from __future__ import annotations

import numpy as np
import pytest

from selfsam_d2.visualization.overlay import (
    IGNORED_COLOR,
    POINT_COLOR,
    PREDICTED_COLOR,
    TRUE_COLOR,
    color_labels,
    draw_contours,
    draw_points,
    enlarge,
    enlarge_labels,
    hatch,
)

PINK = (220, 160, 190)


@pytest.fixture
def image():
    return np.full((24, 32, 3), PINK, dtype=np.uint8)


def has_color(image, color):
    return (image == np.array(color)).all(axis=-1)


def contour_by_loop(instance_map):
    """Pixels of a nucleus that have a 4-neighbour of another id, or lie at the border."""
    height, width = instance_map.shape
    contour = np.zeros(instance_map.shape, bool)
    for row in range(height):
        for column in range(width):
            own = instance_map[row, column]
            if own <= 0:
                continue
            for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                y, x = row + down, column + right
                inside = 0 <= y < height and 0 <= x < width
                if not inside or max(instance_map[y, x], 0) != own:
                    contour[row, column] = True
    return contour


def test_contours_lie_on_the_rim_of_each_nucleus(image):
    instance_map = np.zeros((24, 32), np.int32)
    instance_map[4:12, 5:12] = 1
    instance_map[4:12, 12:20] = 7  # touches the first
    instance_map[18:, 25:] = 3  # cut by the border of the image
    instance_map[0:3, 0:4] = -1
    drawn = draw_contours(image, instance_map, PREDICTED_COLOR)
    expected = contour_by_loop(instance_map)
    np.testing.assert_array_equal(has_color(drawn, PREDICTED_COLOR), expected)
    np.testing.assert_array_equal(drawn[~expected], image[~expected])
    assert (image == PINK).all()


def test_thick_contours_grow_inwards(image):
    instance_map = np.zeros((24, 32), np.int32)
    instance_map[4:14, 5:15] = 2
    drawn = has_color(draw_contours(image, instance_map, TRUE_COLOR, thickness=2), TRUE_COLOR)
    assert drawn.sum() == 10 * 10 - 6 * 6
    assert not drawn[instance_map == 0].any()


def test_points_are_discs_at_their_place(image):
    drawn = draw_points(image, np.array([[10.5, 6.5], [31.9, 23.9]]), radius=2)
    colored = has_color(drawn, POINT_COLOR)
    rows, columns = np.nonzero(colored[:, :20])
    # The disc is centred on the middle of pixel (6, 10).
    assert (rows.mean(), columns.mean()) == (6, 10)
    assert colored[23, 31]
    rim = has_color(drawn, (0, 0, 0))
    assert rim[6, 7]
    assert not colored[6, 7]


def test_no_points_change_nothing(image):
    np.testing.assert_array_equal(draw_points(image, np.zeros((0, 2))), image)


def test_hatch_covers_the_mask_and_nothing_else(image):
    mask = np.zeros((24, 32), bool)
    mask[5:17, 8:28] = True
    drawn = hatch(image, mask)
    np.testing.assert_array_equal(drawn[~mask], image[~mask])
    lines = has_color(drawn, IGNORED_COLOR)
    white = has_color(drawn, (255, 255, 255))
    np.testing.assert_array_equal(lines | white, mask)
    assert 0.2 < lines.sum() / mask.sum() < 0.5


def test_labels_take_different_colors_and_background_is_pale(image):
    labels = np.zeros((24, 32), np.int64)
    labels[2:6, 2:6], labels[2:6, 6:10], labels[12:20, 12:20] = 1, 2, -1
    drawn = color_labels(image, labels)
    one, two = drawn[3, 3].astype(int), drawn[3, 7].astype(int)
    assert np.abs(one - two).max() > 60
    grey = drawn[labels == 0]
    assert (grey == grey[:, :1]).all()
    assert grey.min() > 200
    assert (has_color(drawn, IGNORED_COLOR) <= (labels == -1)).all()


def test_enlarged_labels_fit_the_enlarged_image(image):
    labels = np.arange(24 * 32).reshape(24, 32)
    assert enlarge(image, 3).shape == (72, 96, 3)
    assert (enlarge(image, 3) == PINK).all()
    np.testing.assert_array_equal(enlarge_labels(labels, 3)[1::3, 1::3], labels)
    np.testing.assert_array_equal(enlarge(image, 1), image)


@pytest.mark.parametrize(
    "draw",
    [
        lambda image, wrong: draw_contours(image, wrong, TRUE_COLOR),
        lambda image, wrong: hatch(image, wrong > 0),
        color_labels,
    ],
)
def test_refuses_a_map_of_another_size(image, draw):
    with pytest.raises(ValueError, match="size of the image"):
        draw(image, np.zeros((24, 31), np.int32))
