"""Whole images: windows or tiles of the encoder, and post-processing in other processes."""

import time
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from selfsam_d2.modeling.inference import NucleiInference, _worker_pool
from selfsam_d2.modeling.sliding_window import decode_by_windows, window_grid


def enlarge(windows):
    """A decoder without context: every token becomes 4 x 4 px."""
    return F.interpolate(windows[:, :2], scale_factor=4)


@pytest.mark.parametrize("blend", ["centre", "blend"])
@pytest.mark.parametrize("size", [(6, 6), (9, 17), (7, 6)])
def test_a_decoder_without_context_gives_what_it_gives_on_the_whole(blend, size):
    embedding = torch.randn(5, *size, dtype=torch.double)
    sizes = []

    def decode(windows):
        sizes.append(windows.shape[2:])
        return enlarge(windows)

    found = decode_by_windows(embedding, decode, window=6, overlap=3, blend=blend, batch_size=2)
    assert set(sizes) == {(6, 6)}
    assert torch.allclose(found, enlarge(embedding[None])[0], atol=1e-12)


@pytest.mark.parametrize(
    ("size", "side"),
    [
        ((500, 500), 512),
        ((1000, 1000), 416),  # three a row, where those of 512 would share more than half
        ((300, 900), 320),
        ((224, 224), 224),
        ((50, 900), 224),
    ],
)
def test_tiles_are_no_larger_than_the_image_needs(size, side):
    inference = NucleiInference(window=224, tile=512, crop=224, input_side=448)
    assert inference.tile_side(*size) == side
    # The encoder takes multiples of 64, at the scale of the training.
    assert inference.encoder_side(side) == 2 * side
    assert NucleiInference(window=224, crop=224, input_side=448).tile_side(*size) == 224


@torch.no_grad()
@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([224, 512, 1024]))
def test_smaller_tiles_are_no_more_tiles(height, width, tile):
    inference = NucleiInference(window=224, tile=tile, crop=224, input_side=448)
    side = inference.tile_side(height, width)
    assert 224 <= side <= tile
    assert side == 224 or inference.encoder_side(side) == 2 * side
    largest = max(224, min(tile, -(-min(height, width) // 32) * 32))
    tiles, fewest = (len(window_grid(height, width, each, 80)) for each in (side, largest))
    assert tiles == fewest


def test_tiles_are_encoded_at_once_and_decoded_in_windows(build_selfsam):
    model = build_selfsam().eval()
    inference = model.inference_settings  # windows of 32 px, resized to 64
    encoded, decoded = [], []
    model.backbone.register_forward_pre_hook(lambda _, given: encoded.append(given[0].shape))
    model.nuclei_head.register_forward_pre_hook(lambda _, given: decoded.append(given[0].shape))
    image = torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)
    windows = inference.predict_maps(model.predict_windows, image)
    assert {tuple(shape[2:]) for shape in encoded} == {(64, 64)}
    encoded.clear()
    decoded.clear()
    inference.tile = 64
    tiles = inference.predict_maps(model.predict_windows, image)
    assert [tuple(shape) for shape in encoded] == [(1, 3, 128, 128)] * 2
    assert {tuple(shape[2:]) for shape in decoded} == {(4, 4)}
    assert tiles.shape == windows.shape == (3, 64, 96)
    assert torch.isfinite(tiles).all()


@pytest.mark.parametrize("blend", ["centre", "blend"])
@pytest.mark.parametrize("size", [(64, 96), (104, 72), (48, 152)])
def test_tiles_and_their_windows_lie_where_they_belong(size, blend):
    # A local encoder and a local decoder: whatever the tiles, each pixel gives its own value.
    def encode(images):
        return F.avg_pool2d(images[:, :1].float(), 8)  # S/16 at twice the crop

    def predict(images):
        decoded = inference.decode(lambda tokens: tokens.expand(-1, 3, -1, -1), encode(images))
        return F.interpolate(decoded, images.shape[-2:])

    inference = NucleiInference(window=32, overlap=8, blend=blend, tile=64, crop=32, input_side=64)
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    values = rows // 8 * 5 + columns // 8 * 9  # of the cells of a token
    image = values.to(torch.uint8).expand(3, -1, -1)
    found = inference.predict_maps(predict, image)
    assert torch.allclose(found, image.float(), atol=1e-3)


def test_workers_give_what_this_process_gives():
    truth = np.zeros((40, 40), np.float32)
    truth[5:15, 5:20] = truth[25:38, 10:30] = 0.9
    images = [torch.full((3, 40, 40), value, dtype=torch.uint8) for value in (1, 2)]

    def predict(windows):
        maps = torch.zeros(len(windows), 3, 40, 40)
        maps[:, 0] = torch.from_numpy(truth) * (windows[:, 0].amin() == 1)
        return maps

    results = [
        NucleiInference(window=40, overlap=0, workers=workers)(predict, images)
        for workers in (0, 1)
    ]
    assert [int(each["instance_map"].max()) for each in results[0]] == [2, 0]
    for here, there in zip(*results, strict=True):
        assert torch.equal(here["instance_map"], there["instance_map"])
        assert torch.equal(here["foreground"], there["foreground"])
        for mine, theirs in zip(
            here["instances"].pred_masks, there["instances"].pred_masks, strict=True
        ):
            assert torch.equal(mine, theirs)


def test_a_worker_that_dies_is_an_error_once_and_no_longer():
    inference = NucleiInference(window=8, overlap=0, workers=1)
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    calls = []

    def predict(windows):
        calls.append(1)
        if len(calls) == 2:  # while the network is at the second image
            pool = _worker_pool(1)
            for process in list(pool._processes.values()):
                process.kill()
                process.join()
            # The pool notices in a thread of its own.
            for _ in range(200):
                if pool._broken:
                    break
                time.sleep(0.05)
        return torch.zeros(len(windows), 3, 8, 8)

    with pytest.raises(BrokenProcessPool):
        inference(predict, [image, image])
    (found,) = inference(predict, [image])
    assert found["instance_map"].max() == 0
