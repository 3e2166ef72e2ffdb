"""SelfSAM and its encoders in half precision, as PyTorch's autocast makes it on a CPU."""

import pytest
import torch

from selfsam_d2.modeling.adapter import high_pass
from selfsam_d2.modeling.relative_attention import relative_attention

# A soft threshold on m_u: the random decoder of a test draws no confident mask.
EASY = {"entropy_threshold": 100.0, "voronoi": True, "mask_threshold": 0.3}


def losses_of(model, batch, dtype):
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float):
        return model(batch)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_those_of_single_precision_and_a_step_learns(build_selfsam, make_crop, dtype):
    model = build_selfsam(labels=EASY).train()
    batch = [make_crop(5), make_crop(3, seed=1)]
    whole = {name: each.item() for name, each in losses_of(model, batch, torch.float).items()}
    assert min(whole.values()) > 0
    losses = losses_of(model, batch, dtype)
    found = {name: each.item() for name, each in losses.items()}
    assert found != whole  # it was in half precision
    assert found == pytest.approx(whole, rel=5e-3)
    trained = [each for each in model.parameters() if each.requires_grad]
    before = [each.detach().clone() for each in trained]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(sum(losses.values())).backward()
    assert all(each.grad.isfinite().all() for each in trained if each.grad is not None)
    scaler.step(optimizer)
    assert all(each.isfinite().all() for each in trained)
    assert any((each != old).any() for each, old in zip(trained, before, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_of_a_vit_and_its_gradients_are_those_of_single_precision(dtype):
    torch.manual_seed(0)
    height, width = 5, 7
    shape = (2, 3, height * width, 8)
    # Under autocast a linear layer gives the first three in half precision; the tables stay.
    halves = [torch.randn(shape).to(dtype) for _ in range(3)]
    tables = [torch.randn(side, side, 8) for side in (height, width)]
    results = []
    for convert in (torch.Tensor.float, torch.Tensor.clone):
        inputs = [convert(each.detach()).requires_grad_() for each in (*halves, *tables)]
        with torch.autocast("cpu", dtype=dtype, enabled=convert is torch.Tensor.clone):
            attended = relative_attention(*inputs)
        attended.float().square().sum().backward()
        results.append([attended.detach(), *(each.grad for each in inputs)])
    assert results[1][0].dtype == dtype
    for found, expected in zip(results[1], results[0], strict=True):
        assert (found - expected).abs().max() < 0.03 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_high_pass_of_an_image_in_half_precision(dtype):
    images = torch.randn(1, 3, 24, 32).to(dtype)
    found = high_pass(images)
    assert found.dtype == dtype
    assert torch.equal(found, high_pass(images.float()).to(dtype))
