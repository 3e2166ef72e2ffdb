"""A further round: base masks drawn by the model of an earlier training."""

import pytest
import torch

from selfsam_d2.engine.base_cache_hook import BaseCacheHook
from selfsam_d2.engine.checks import check_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import InputError
from selfsam_d2.modeling.base_masks import base_fingerprint, predict_base_masks

CACHED = ("SELF_REFINE.BASE_CACHE", "True")


@pytest.fixture
def adapted(small_config):
    """A model whose adapters do something."""
    model = SelfSAMTrainer(small_config()).model.eval()
    torch.manual_seed(0)
    for parameter in model.backbone.adapters.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def masks_of(model, bare):
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=generator)
    points = torch.tensor([[20.0, 15.0], [50.0, 40.0]])
    ((_, _, masks),) = predict_base_masks(
        model, image, points, image_id=1, window=64, overlap=16, bare=bare
    )
    return masks


def test_masks_are_the_mean_of_bare_and_adapted(adapted):
    bare, trained, mixed = (masks_of(adapted, weight) for weight in (1.0, 0.0, 0.25))
    assert abs(bare - trained).max() > 0.01
    assert abs(mixed - (0.25 * bare + 0.75 * trained)).max() < 1e-6


def test_adapters_count_only_where_they_draw(adapted):
    before = {weight: base_fingerprint(adapted, weight) for weight in (1.0, 0.5, 0.25)}
    assert len(set(before.values())) == 3
    with torch.no_grad():
        next(iter(adapted.backbone.adapters.parameters())).add_(1.0)
    assert base_fingerprint(adapted, 1.0) == before[1.0]
    assert base_fingerprint(adapted, 0.5) != before[0.5]


def test_a_round_reads_masks_of_the_earlier_training(small_config, adapted, tmp_path):
    earlier = tmp_path / "earlier.pth"
    torch.save({"model": adapted.state_dict()}, earlier)
    keys = ("SELF_REFINE.BASE_WEIGHTS", str(earlier), "SELF_REFINE.BASE_BLEND", "0.25")
    trainer = SelfSAMTrainer(small_config(*CACHED, *keys))
    (hook,) = (each for each in trainer._hooks if isinstance(each, BaseCacheHook))
    drawn = []

    def keep(model, *arguments, bare, **options):
        drawn.append((model.backbone.state_dict(), bare))
        return predict_base_masks(model, *arguments, bare=bare, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selfsam_d2.engine.base_cache_hook.predict_base_masks", keep)
        hook.before_train()
    assert [bare for _, bare in drawn] == [0.25] * len(hook.records)
    wanted = adapted.backbone.state_dict()
    assert all(torch.equal(drawn[0][0][key], value) for key, value in wanted.items())
    # The model that is trained begins anew.
    assert not all(
        torch.equal(trainer.model.backbone.state_dict()[key], value)
        for key, value in wanted.items()
    )


def test_a_round_needs_the_cache_and_its_weights(small_config):
    keys = ("SELF_REFINE.BASE_WEIGHTS", "gone.pth")
    with pytest.raises(InputError, match=r"BASE_WEIGHTS 'gone\.pth': draws .*BASE_CACHE to True"):
        check_config(small_config(*keys))
    with pytest.raises(InputError, match=r"gone\.pth: no such file of weights"):
        SelfSAMTrainer(small_config(*CACHED, *keys))
