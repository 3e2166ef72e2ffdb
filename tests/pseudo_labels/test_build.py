"""Label makers by name, and what a name fixes."""

from types import SimpleNamespace

import pytest
import torch

from selfsam_d2.engine.checks import check_config
from selfsam_d2.engine.epochs import enter_epoch, epoch_alpha, epoch_reprompts
from selfsam_d2.engine.setup import load_config
from selfsam_d2.errors import InputError
from selfsam_d2.modeling.crop_losses import LOSS_NAMES
from selfsam_d2.pseudo_labels.build import build_label_maker
from selfsam_d2.pseudo_labels.registry import PSEUDO_LABEL_REGISTRY, LabelMaker
from selfsam_d2.pseudo_labels.self_refining import SelfRefiningLabels

CONFIG = "configs/demo.yaml"
NAMES = ("SelfRefiningLabels", "StaticSAMLabels", "VoronoiClusterLabels")


def masks(seed):
    return torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(seed))


def label(maker, alpha, foreground):
    points = torch.tensor([[3.0, 3.0], [9.0, 4.0], [12.0, 12.0]])
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    prompt = maker.prompt_label(image, points, points, base=masks(0), adapted=masks(1), alpha=alpha)
    return prompt, maker.instance_label(prompt, foreground)


def test_each_name_is_built():
    assert {name for name, _ in PSEUDO_LABEL_REGISTRY} == set(NAMES)
    for name in NAMES:
        maker = build_label_maker(load_config(CONFIG, ["PSEUDO_LABEL.NAME", name]))
        assert isinstance(maker, LabelMaker)
        assert type(maker).__name__ == name


def test_an_unknown_name_is_one_line_with_the_choices():
    cfg = load_config(CONFIG, ["PSEUDO_LABEL.NAME", "Magic"])
    with pytest.raises(InputError, match=r"PSEUDO_LABEL\.NAME 'Magic'.*StaticSAMLabels"):
        check_config(cfg)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SelfRefiningLabels", [1.0, 0.75, 0.5, 0.25]),
        ("StaticSAMLabels", [1.0] * 4),
        ("VoronoiClusterLabels", [0.0] * 4),
    ],
)
def test_the_label_maker_may_fix_alpha(name, expected):
    cfg = load_config(CONFIG, ["PSEUDO_LABEL.NAME", name])
    assert [epoch_alpha(cfg, epoch, 4) for epoch in range(4)] == expected


def test_static_labels_do_not_listen_to_the_prediction():
    static = build_label_maker(load_config(CONFIG, ["PSEUDO_LABEL.NAME", "StaticSAMLabels"]))
    refining = build_label_maker(load_config(CONFIG, []))
    foreground = torch.rand(16, 16, generator=torch.Generator().manual_seed(2))
    prompt, instance = label(static, 1.0, foreground)
    assert torch.equal(instance.labels, prompt.labels)
    assert torch.equal(instance.ignore_mask, prompt.ignore_mask)
    same, refined = label(refining, 1.0, foreground)
    assert torch.equal(same.labels, prompt.labels)
    assert not torch.equal(refined.labels, prompt.labels)


def test_the_consensus_begins_in_its_epoch():
    cfg, model, acts = (
        load_config(CONFIG, ["PSEUDO_LABEL.CONSENSUS_START", "1"]),
        SimpleNamespace(),
        [],
    )
    for epoch in range(3):
        enter_epoch(model, cfg, epoch, 3)
        acts.append(model.consensus)
    assert acts == [False, True, True]


def test_base_masks_are_prompted_again_from_an_epoch_on_by_the_refining_labels_only():
    keys = ["PSEUDO_LABEL.REPROMPT", "True", "PSEUDO_LABEL.REPROMPT_START", "2"]
    for name in NAMES:
        cfg, model, acts = (
            load_config(CONFIG, [*keys, "PSEUDO_LABEL.NAME", name]),
            SimpleNamespace(),
            [],
        )
        for epoch in range(4):
            enter_epoch(model, cfg, epoch, 4)
            acts.append(model.reprompts)
        assert acts == [name == "SelfRefiningLabels" and epoch >= 2 for epoch in range(4)]
    assert not epoch_reprompts(load_config(CONFIG, []), 3)


def test_the_stain_has_a_say_in_the_refining_labels_only():
    keys = ["PSEUDO_LABEL.VORONOI", "True"]
    foreground = torch.rand(16, 16, generator=torch.Generator().manual_seed(2))
    for name in NAMES:
        found = []
        for weight in ("0.0", "0.9"):
            chosen = ["PSEUDO_LABEL.NAME", name, "PSEUDO_LABEL.STAIN_WEIGHT", weight]
            maker = build_label_maker(load_config(CONFIG, [*keys, *chosen]))
            found.append(label(maker, 1.0, foreground)[0].labels)
        assert torch.equal(*found) == (name != "SelfRefiningLabels"), name


def test_the_limits_of_the_config_act():
    points = torch.tensor([[5.0, 5.0], [5.0, 11.0]])
    masks_, image = torch.ones(2, 16, 16), torch.full((3, 16, 16), 230, dtype=torch.uint8)
    image[:, :, :8] = torch.tensor([90, 50, 140], dtype=torch.uint8)[:, None, None]

    def nuclei(*opts):
        cfg = load_config(CONFIG, ["PSEUDO_LABEL.VORONOI", "True", *opts])
        given = {"base": masks_, "adapted": masks_, "alpha": 1.0}
        return build_label_maker(cfg).prompt_label(image, points, points, **given).labels > 0

    assert nuclei().all()
    stained = nuclei("PSEUDO_LABEL.HAEMATOXYLIN", "True")
    assert stained[:, :8].all()
    assert not stained[:, 8:].any()
    near = nuclei("PSEUDO_LABEL.MAX_RADIUS", "0.5")
    grid = torch.arange(16) + 0.5
    distance = torch.hypot(
        grid[None] - 5, torch.minimum((grid - 5).abs(), (grid - 11).abs())[:, None]
    )
    assert torch.equal(near, distance <= 3)


def test_without_cells_the_stain_has_no_say():
    with pytest.raises(ValueError, match=r"voronoi.*stain_weight"):
        SelfRefiningLabels(stain_weight=0.5)


def test_losses_that_a_method_lacks_are_losses():
    lacking = {each: PSEUDO_LABEL_REGISTRY.get(each).lacks_losses for each in NAMES}
    assert set().union(*lacking.values()) < set(LOSS_NAMES)
    assert not lacking["SelfRefiningLabels"]


REPROMPT = ("PSEUDO_LABEL.REPROMPT", "True", "PSEUDO_LABEL.REPROMPT_START")
STEP = ("SELF_REFINE.ALPHA_SCHEDULE", "step")
CONSTANT = ("SELF_REFINE.ALPHA_SCHEDULE", "constant", "SELF_REFINE.ALPHA_CONSTANT")
CONSENSUS = ("PSEUDO_LABEL.CONSENSUS_START",)


@pytest.mark.parametrize(
    ("keys", "refused"),
    [
        ((*REPROMPT, "6"), r"PSEUDO_LABEL\.REPROMPT_START 6: .*last epoch, 5 .*REPROMPT to False"),
        ((*REPROMPT, "5"), None),
        ((*REPROMPT, "6", "PSEUDO_LABEL.NAME", "StaticSAMLabels"), None),
        ((*REPROMPT, "3", *STEP), r"PSEUDO_LABEL\.REPROMPT True: .*epoch 3 on; .*'step'.*to False"),
        ((*REPROMPT, "2", *STEP), None),
        ((*REPROMPT, "0", *CONSTANT, "0"), r"PSEUDO_LABEL\.REPROMPT True: .*'constant'"),
        ((*REPROMPT, "0", *CONSTANT, "0.1"), None),
        ((*REPROMPT, "5", "SELF_REFINE.ALPHA_SCHEDULE", "linear"), None),
        ((*CONSENSUS, "6"), r"PSEUDO_LABEL\.CONSENSUS_START 6: .*epoch, 5 .*CONSENSUS to False"),
        ((*CONSENSUS, "5"), None),
        ((*CONSENSUS, "6", "PSEUDO_LABEL.CONSENSUS", "False"), None),
        ((*CONSENSUS, "6", "PSEUDO_LABEL.NAME", "StaticSAMLabels"), None),
    ],
)
def test_what_would_act_in_no_epoch_is_refused(keys, refused):
    six = ["SOLVER.EPOCHS", "6", "SOLVER.MAX_ITER", "0"]
    cfg = load_config(CONFIG, [*six, *keys])
    if refused is None:
        check_config(cfg)
    else:
        with pytest.raises(InputError, match=refused):
            check_config(cfg)
    # How many epochs there are in a number of steps only the trainer knows.
    cfg.SOLVER.MAX_ITER = 2
    check_config(cfg)


def test_a_main_config_cannot_be_cut_to_epochs_without_its_boxes():
    keys = ["SOLVER.EPOCHS", "5", "SOLVER.COSINE_T_MAX", "5"]
    with pytest.raises(InputError, match=r"PSEUDO_LABEL\.REPROMPT_START 5: "):
        check_config(load_config("configs/tnbc_vitt.yaml", keys))
