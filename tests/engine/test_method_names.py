"""What row each config stands for, by what acts in it."""

import pytest

from selfsam_d2.engine.method_names import method_of
from selfsam_d2.engine.setup import load_config
from selfsam_d2.errors import InputError

DEMO, OURS = "configs/demo.yaml", "configs/tnbc_vitt.yaml"
PLAIN = (
    *("SELF_REFINE.ALPHA_SCHEDULE", "static", "MODEL.LOSS.CONTRAST_WEIGHT", "0"),
    *("PSEUDO_LABEL.CONSENSUS", "False"),
)
STAIN = ("PSEUDO_LABEL.VORONOI", "True", "PSEUDO_LABEL.STAIN_WEIGHT", "0.5")
STATIC = ("PSEUDO_LABEL.NAME", "StaticSAMLabels", "MODEL.LOSS.CONTRAST_WEIGHT", "0")
BOXES = ("PSEUDO_LABEL.REPROMPT", "True")
VORONOI = ("PSEUDO_LABEL.NAME", "VoronoiClusterLabels")
NO_PROMPT, NO_CONTRAST = ("MODEL.LOSS.PROMPT_WEIGHT", "0"), ("MODEL.LOSS.CONTRAST_WEIGHT", "0")


@pytest.mark.parametrize(
    ("opts", "method"),
    [
        ((), "self-refining"),
        (STATIC, "static"),
        (PLAIN, "static"),
        (("SELF_REFINE.ALPHA_SCHEDULE", "static"), "alpha static"),
        (NO_CONTRAST, "no contrast"),
        (("SELF_REFINE.ALPHA_SCHEDULE", "step"), "alpha step"),
        (STATIC[:2], "static"),
        (("PSEUDO_LABEL.NAME", "Mine"), "Mine"),
        ((*VORONOI, *NO_PROMPT, *NO_CONTRAST), "voronoi"),
        (VORONOI, "voronoi"),
        (("PSEUDO_LABEL.CONSENSUS", "False"), "self-refining, no consensus"),
        (STAIN, "stain joins, with linear, with consensus, with contrast"),
        ((*STAIN, *STATIC), "static"),
        ((*STAIN, *PLAIN), "stain joins"),
        ((*STAIN, *BOXES, *PLAIN), "stain and boxes join"),
        ((*BOXES, *PLAIN), "boxes join"),
        ((*BOXES, *STATIC, "PSEUDO_LABEL.REPROMPT_START", "3"), "static"),
    ],
)
def test_a_config_is_known_by_what_it_says_not_by_its_name(opts, method):
    assert method_of(load_config(DEMO, list(opts))) == method


@pytest.mark.parametrize(
    ("opts", "method"),
    [
        ((), "stain and boxes join"),
        (("PSEUDO_LABEL.REPROMPT", "False"), "stain joins"),
        (("SOLVER.EPOCHS", "6"), "stain and boxes join"),
        (("SOLVER.EPOCHS", "5"), "stain joins"),
        (("SOLVER.EPOCHS", "5", "PSEUDO_LABEL.STAIN_WEIGHT", "0"), "static"),
        (
            ("SOLVER.MAX_ITER", "9", "PSEUDO_LABEL.REPROMPT_START", "0", "SOLVER.EPOCHS", "0"),
            "stain and boxes join",
        ),
    ],
)
def test_boxes_join_only_where_an_epoch_is_reached_that_has_them(opts, method):
    assert method_of(load_config(OURS, list(opts))) == method


def test_where_only_the_images_tell_it_asks_for_epochs():
    cfg = load_config(OURS, ["SOLVER.MAX_ITER", "400"])
    with pytest.raises(InputError, match=r"REPROMPT_START 5: .*MAX_ITER 400 .*give SOLVER\.EPOCHS"):
        method_of(cfg)
