"""SelfSAM as a whole: what learns, what is drawn, what a batch is."""

import pytest
import torch

import selfsam_d2.modeling.prompter as prompter_module
from selfsam_d2.losses.masks import foreground_loss, prompt_loss
from selfsam_d2.modeling.crop_losses import LOSS_NAMES
from selfsam_d2.modeling.resize import resize_maps
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.pseudo_labels.refined_boxes import refined_boxes
from selfsam_d2.pseudo_labels.self_refining import SelfRefiningLabels, StaticSAMLabels
from selfsam_d2.pseudo_labels.voronoi_cluster import VoronoiClusterLabels
from selfsam_d2.structures.points import spacing_boxes

TRAINED = ("backbone.adapter", "nuclei_head.", "contrast_head.")
# A soft threshold on m_u: the random decoder of a test draws no confident mask.
EASY = {"entropy_threshold": 100.0, "voronoi": True, "mask_threshold": 0.3}


def learned(model):
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and bool((parameter.grad != 0).any())
    }


def test_gradients_reach_what_is_trained_and_nothing_else(build_selfsam, make_crop):
    model = build_selfsam(labels=EASY).train()
    model.consensus = False
    losses = model([make_crop(5)])
    assert tuple(losses) == LOSS_NAMES
    assert losses["loss_contrast"] > 0
    sum(losses.values()).backward()
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    assert all(name.startswith(TRAINED) for name in trained)
    # Keys of an attention see only differences between tokens: their bias has no gradient.
    silent = {name for name in trained - learned(model) if not name.endswith("k_proj.bias")}
    assert silent == set()
    assert "contrast_head.prototype" in learned(model)
    assert learned(model) <= trained


@pytest.mark.parametrize(
    ("index", "reached"),
    [
        (0, ("backbone.adapter",)),
        (1, ("backbone.adapter", "nuclei_head.")),
        (2, ("backbone.adapter", "nuclei_head.")),
        (3, ("backbone.adapter", "contrast_head.")),
    ],
)
def test_each_loss_reaches_its_parts(build_selfsam, make_crop, index, reached):
    weights = [0.0] * 4
    weights[index] = 1.0
    model = build_selfsam(weights=weights, labels=EASY).train()
    model.consensus = False
    sum(model([make_crop(5)]).values()).backward()
    found = {part for part in TRAINED for name in learned(model) if name.startswith(part)}
    assert found == set(reached)


@pytest.mark.parametrize("choice", ["nearest", "random"])
def test_no_points_is_legal_and_keeps_the_graph(build_selfsam, make_crop, choice):
    model = build_selfsam(prompts={"num_negatives": 2, "negative_choice": choice}).train()
    # All points of the image lie outside the crop.
    losses = model([{**make_crop(0), "context_points": torch.tensor([[40.0, 9.0], [-3.0, 50.0]])}])
    assert losses["loss_prompt"].item() == 0
    assert losses["loss_contrast"].item() == 0
    sum(losses.values()).backward()


def test_a_batch_is_the_mean_of_its_images(build_selfsam, make_crop):
    model = build_selfsam(prompts={"spacing_box": True}, labels=EASY).train()
    crops = [make_crop(4, seed=1), make_crop(3, seed=2)]
    alone = [model([crop]) for crop in crops]
    together = model(crops)
    for name in LOSS_NAMES:
        mean = (alone[0][name] + alone[1][name]) / 2
        assert together[name].item() == pytest.approx(mean.item(), rel=1e-4)


def test_pixels_beyond_the_image_count_in_no_loss(build_selfsam, make_crop):
    model = build_selfsam(labels=EASY).train()
    crop = make_crop(4)
    crop["outside"][:, :16] = True
    seen = {}

    def spy(name, loss):
        def wrapped(logits, labels, **options):
            seen[name] = labels
            return loss(logits, labels, **options)

        return wrapped

    import selfsam_d2.modeling.crop_losses as module

    module.prompt_loss = spy("prompt", prompt_loss)
    module.foreground_loss = spy("foreground", foreground_loss)
    try:
        model([crop])
    finally:
        module.prompt_loss, module.foreground_loss = prompt_loss, foreground_loss
    for labels in seen.values():
        assert (labels[:, :16] == -1).all()
        assert (labels[:, 16:] != -1).any()


def test_alpha_decides_between_base_and_adapted(build_selfsam, make_crop):
    model = build_selfsam().train()
    crop = make_crop(3)
    tokens = model.encode_prompts(crop)
    base, adapted = model.backbone.forward_both(model.preprocess(crop["image"][None]))
    masks = [
        model.prompt_logits(each["image_embedding"], tokens, (32, 32)) for each in (base, adapted)
    ]
    for alpha in (0.0, 0.25, 1.0):
        model.alpha = alpha
        found = model.label_maker.blend(
            *(crop[name] for name in ("image", "points", "context_points")),
            base=masks[0].sigmoid(),
            adapted=masks[1].detach().sigmoid(),
            alpha=alpha,
        )
        expected = alpha * masks[0].sigmoid() + (1 - alpha) * masks[1].sigmoid()
        assert torch.allclose(found, expected, atol=1e-6)


def test_base_masks_are_prompted_with_what_the_model_sees(build_selfsam, make_crop, monkeypatch):
    model = build_selfsam(labels={"voronoi": True, "entropy_threshold": 100.0}).train()
    crop, size = make_crop(3), (32, 32)
    given = []

    def note(sample, base, adapted):
        given.append(base)
        return SelfSAM.make_prompt_label(model, sample, base, adapted)

    monkeypatch.setattr(model, "make_prompt_label", note)
    for model.reprompts in (False, True):
        model([crop])
    base, adapted = model.backbone.forward_both(model.preprocess(crop["image"][None]))
    base, adapted = base["image_embedding"], adapted["image_embedding"]
    points, context = crop["points"], crop["context_points"]
    masks = model.prompt_logits(adapted, model.encode_prompts(crop), size).sigmoid()
    fallback = spacing_boxes(points, context)
    foreground = resize_maps(model.nuclei_head(adapted), size)[0, 0].sigmoid()
    boxes = refined_boxes(points, context, masks.detach(), foreground.detach(), fallback)
    assert not torch.equal(boxes, fallback)
    scale = 64 / 32
    tokens, _ = model.prompter.prompt_encoder(
        points=(points[:, None] * scale - 0.5, torch.ones(3, 1)),
        boxes=boxes * scale - 0.5,
        masks=None,
    )
    expected = model.prompt_logits(base, tokens, size).sigmoid()
    assert torch.allclose(given[1], expected, atol=1e-5)
    assert (given[0] - given[1]).abs().max() > 1e-3


def test_a_crop_without_points_can_be_prompted_again(build_selfsam, make_crop):
    model = build_selfsam().train()
    model.reprompts = True
    assert torch.isfinite(sum(model([make_crop(0)]).values()))


def test_stored_labels_replace_those_of_the_step(build_selfsam, make_crop):
    model = build_selfsam().train()
    crop = make_crop(3)
    everything = torch.full((32, 32), -1)
    stored = {**crop, "prompt_label": everything, "instance_label": everything}
    losses = model([stored])
    assert all(loss.item() == 0 for loss in losses.values())
    assert model.label_statistics["prompt_ignored"] == 1


def test_prediction_needs_no_points(build_selfsam):
    model = build_selfsam().eval()
    (output,) = model([{"image": torch.randint(0, 256, (3, 50, 40), dtype=torch.uint8)}])
    assert output["instance_map"].shape == (50, 40)
    assert output["instance_map"].dtype == torch.int32
    assert len(output["instances"]) == int(output["instance_map"].max())
    assert output["foreground"].shape == (50, 40)


def test_statistics_are_shares(build_selfsam, make_crop):
    model = build_selfsam(labels=EASY).train()
    model([make_crop(5)])
    assert set(model.label_statistics) == {
        "prompt_ignored",
        "instance_ignored",
        "recovered",
        "empty_prompts",
    }
    assert all(0 <= value <= 1 for value in model.label_statistics.values())


def test_crops_share_the_memory_of_the_decoder_by_their_points(
    build_selfsam, make_crop, monkeypatch
):
    model = build_selfsam(labels=EASY).train()
    model.alpha = 1.0
    model.prompter.decoder_memory = 8.0
    shares = []
    original = prompter_module.decode_masks

    def spy(*arguments):
        if torch.is_grad_enabled():
            shares.append(arguments[-1] / 2**20)
        return original(*arguments)

    monkeypatch.setattr(prompter_module, "decode_masks", spy)
    model([make_crop(3), make_crop(0), make_crop(1)])
    assert shares == [6.0, 2.0]


@pytest.mark.parametrize(
    ("weights", "alpha", "calls"),
    [
        # (weights of the four losses, alpha) -> (forward_both, prompt_logits, contrast_head)
        ((1.0, 1.0, 5.0, 1.0), 0.5, (1, 2, 1)),
        ((1.0, 1.0, 5.0, 1.0), 0.0, (0, 1, 1)),
        ((0.0, 1.0, 5.0, 0.0), 1.0, (1, 1, 0)),
        ((0.0, 1.0, 0.0, 0.0), 0.0, (0, 1, 0)),
    ],
)
def test_nothing_is_computed_for_what_is_switched_off(
    build_selfsam, make_crop, monkeypatch, weights, alpha, calls
):
    model = build_selfsam(weights=weights, labels=EASY).train()
    model.alpha = alpha
    counts = dict.fromkeys(("forward_both", "prompt_logits", "forward"), 0)
    for owner, name in (
        (model.backbone, "forward_both"),
        (model, "prompt_logits"),
        (model.contrast_head, "forward"),
    ):
        original = getattr(owner, name)

        def count(*arguments, name=name, original=original):
            counts[name] += 1
            return original(*arguments)

        monkeypatch.setattr(owner, name, count)
    losses = model([make_crop(4)])
    assert tuple(counts.values()) == calls
    for name, weight in zip(LOSS_NAMES, weights, strict=True):
        assert (losses[name].item() == 0) == (weight == 0)
    sum(losses.values()).backward()
    # As data-parallel training needs it: every parameter that learns has a gradient.
    assert all(each.grad is not None for each in model.parameters() if each.requires_grad)


@pytest.mark.parametrize(
    ("maker", "labels", "missing"),
    [
        (SelfRefiningLabels, {**EASY, "consensus": False}, set()),
        (StaticSAMLabels, {**EASY, "consensus": False}, {"loss_contrast"}),
        (VoronoiClusterLabels, {}, {"loss_prompt", "loss_contrast"}),
    ],
)
def test_the_label_maker_alone_says_which_losses_its_method_has(
    build_selfsam, make_crop, maker, labels, missing
):
    model = build_selfsam(maker=maker, labels=labels).train()
    model.alpha = maker.fixed_alpha if maker.fixed_alpha is not None else 0.5
    losses = model([make_crop(5)])
    assert {name for name in LOSS_NAMES if losses[name].item() == 0} == missing
    assert {name for name, weight in model.loss_weights.items() if weight == 0} == missing
    sum(losses.values()).backward()
    assert all(each.grad is not None for each in model.parameters() if each.requires_grad)
