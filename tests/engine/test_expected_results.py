"""What an evaluation is compared with, and what is said where it differs."""

import pytest

from selfsam_d2.engine.checks import check_config
from selfsam_d2.engine.expected_results import verify_results
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import InputError

RESULTS = {"nuclei": {"AJI": 0.57, "PQ": float("nan")}}
KEY = "TEST.EXPECTED_RESULTS"


def expect(*rows):
    return KEY, str([list(row) for row in rows])


def test_what_is_within_its_tolerance_passes(small_config):
    verify_results(small_config(), RESULTS)
    verify_results(small_config(), None)
    for value in (0.56, 0.57, 0.58):
        verify_results(small_config(*expect(("nuclei", "AJI", value, 0.0101))), RESULTS)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (("nuclei", "AJI", 0.56, 0.009), "nuclei/AJI is 0.57, expected 0.56 within 0.009"),
        (("nuclei", "AJI", 0.58, 0.009), "nuclei/AJI is 0.57, expected 0.58 within 0.009"),
        (("nuclei", "PQ", 0.5, 1), "nuclei/PQ was not measured"),
        (("nuclei", "F1", 0.5, 1), "nuclei/F1 was not measured"),
        (("segm", "AP", 0.5, 1), "segm/AP was not measured"),
    ],
)
def test_what_is_not_is_named(small_config, row, line):
    cfg = small_config(*expect(("nuclei", "AJI", 0.57, 0.001), row))
    with pytest.raises(InputError, match=f"^{KEY}: {line}$"):
        verify_results(cfg, RESULTS)
    with pytest.raises(InputError, match="was not measured"):
        verify_results(cfg, None)


@pytest.mark.parametrize(
    "row",
    [
        ("nuclei", "AJI", 0.5),
        ("nuclei", 3, 0.5, 0.1),
        ("nuclei", "AJI", "0.5", 0.1),
        ("nuclei", "AJI", True, 0.1),
        ("nuclei", "AJI", 0.5, -0.1),
        ("nuclei", "AJI", 0.5, 0.1, 0.1),
    ],
)
def test_another_form_is_refused_before_anything_starts(small_config, row):
    with pytest.raises(InputError, match=rf"^{KEY} \[.*: expected task, metric, value, tolerance"):
        check_config(small_config(*expect(row)))


def test_it_is_for_one_dataset(small_config):
    cfg = small_config(*expect(("nuclei", "AJI", 0.5, 0.1)))
    check_config(cfg)
    cfg.DATASETS.TEST = ()
    with pytest.raises(InputError, match=f"^{KEY}: is for one dataset, but DATASETS.TEST has 0$"):
        check_config(cfg)


def test_a_training_ends_with_the_comparison(small_config):
    keys = ("SOLVER.MAX_ITER", "2", "MODEL.WEIGHTS", "")
    trainer = SelfSAMTrainer(small_config(*keys, *expect(("nuclei", "Dice", 2.0, 0.5))))
    trainer.resume_or_load(resume=False)
    with pytest.raises(InputError, match=f"^{KEY}: nuclei/Dice is .*, expected 2 within 0.5$"):
        trainer.train()
