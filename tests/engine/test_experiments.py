"""Which runs a list of configs means, what row each stands for, and what its record is."""

import json
from pathlib import Path

import pytest

from selfsam_d2.engine.experiments import (
    make_record,
    method_of,
    plan_experiments,
    read_record,
)
from selfsam_d2.engine.setup import load_config
from selfsam_d2.errors import InputError

DEMO = "configs/demo.yaml"
PLAIN = (
    *("SELF_REFINE.ALPHA_SCHEDULE", "static", "MODEL.LOSS.CONTRAST_WEIGHT", "0"),
    *("PSEUDO_LABEL.CONSENSUS", "False"),
)
STAIN = ("PSEUDO_LABEL.VORONOI", "True", "PSEUDO_LABEL.STAIN_WEIGHT", "0.5")
STATIC = ("PSEUDO_LABEL.NAME", "StaticSAMLabels", "MODEL.LOSS.CONTRAST_WEIGHT", "0")


def test_every_config_seed_and_shift_is_one_run():
    planned = plan_experiments([DEMO], [0, 1], [0, 8], ["SOLVER.MAX_ITER", "7"])
    assert [each.name for each in planned] == [
        "demo_shift0_seed0",
        "demo_shift8_seed0",
        "demo_shift0_seed1",
        "demo_shift8_seed1",
    ]
    last = planned[-1]
    assert (last.cfg.SEED, last.cfg.INPUT.NUCLEI.SHIFT, last.cfg.SOLVER.MAX_ITER) == (1, 8.0, 7)
    assert last.command().endswith("SOLVER.MAX_ITER 7 SEED 1 INPUT.NUCLEI.SHIFT 8")


def test_a_config_keeps_its_own_shift_where_none_is_given(tmp_path):
    child = tmp_path / "mine_shift8.yaml"
    base = Path(DEMO).absolute()
    child.write_text(f"_BASE_: {base}\nINPUT:\n  NUCLEI:\n    SHIFT: 8\n")
    (run,) = plan_experiments([str(child)], [3])
    assert run.name == "mine_shift8_seed3"
    with pytest.raises(InputError, match="second run named mine_shift8_seed3"):
        plan_experiments([str(child)] * 2, [3])


@pytest.mark.parametrize(
    ("opts", "method"),
    [
        ((), "self-refining"),
        (STATIC, "static"),
        (
            (
                *("SELF_REFINE.ALPHA_SCHEDULE", "static", "PSEUDO_LABEL.CONSENSUS", "False"),
                *("MODEL.LOSS.CONTRAST_WEIGHT", "0"),
            ),
            "static",
        ),
        (("SELF_REFINE.ALPHA_SCHEDULE", "static"), "alpha static"),
        (("MODEL.LOSS.CONTRAST_WEIGHT", "0"), "no contrast"),
        (("SELF_REFINE.ALPHA_SCHEDULE", "step"), "alpha step"),
        (("PSEUDO_LABEL.NAME", "VoronoiClusterLabels"), "voronoi"),
        (("PSEUDO_LABEL.CONSENSUS", "False"), "self-refining, no consensus"),
        (STAIN, "stain joins, with linear, with consensus, with contrast"),
        ((*STAIN, *STATIC), "static"),
        (
            (*STAIN, *PLAIN),
            "stain joins",
        ),
        (
            (*STAIN, "PSEUDO_LABEL.REPROMPT", "True", *PLAIN),
            "stain and boxes join",
        ),
        (("PSEUDO_LABEL.REPROMPT", "True", *PLAIN), "boxes join"),
    ],
)
def test_a_config_is_known_by_what_it_says_not_by_its_name(opts, method):
    assert method_of(load_config(DEMO, list(opts))) == method


def write_run(folder):
    (folder / "inference").mkdir(parents=True)
    rows = [
        {"iteration": 19, "total_loss": 2.0},
        {"iteration": 24, "nuclei/AJI": 0.4, "nuclei/Dice": 0.7},
        {"iteration": 49, "total_loss": 1.0},
        {"iteration": 50, "nuclei/AJI": 0.5, "nuclei/Dice": 0.8},
        {"iteration": 51, "nuclei/AJI": 0.5, "nuclei/Dice": 0.8},
    ]
    (folder / "metrics.json").write_text("".join(json.dumps(each) + "\n" for each in rows))
    result = {"mean": {"AJI": 0.5}, "images": {}, "both_empty": 0}
    (folder / "inference" / "nuclei_metrics.json").write_text(json.dumps(result))


def test_a_record_holds_result_settings_and_command(tmp_path):
    (run,) = plan_experiments([DEMO], [4], [8], ["OUTPUT_DIR", "somewhere"])
    write_run(tmp_path / "run")
    record = make_record(run, tmp_path / "run", 61.4)
    assert record["results"] == {
        "synthetic_val": {"mean": {"AJI": 0.5}, "images": {}, "both_empty": 0}
    }
    assert (record["steps"], record["seconds"], record["seed"]) == (50, 61, 4)
    assert record["evaluations"] == [
        {"step": 25, "nuclei/AJI": 0.4, "nuclei/Dice": 0.7},
        {"step": 50, "nuclei/AJI": 0.5, "nuclei/Dice": 0.8},
    ]
    assert record["settings"]["INPUT.NUCLEI.SHIFT"] == 8.0
    assert record["settings"]["DATASETS.TRAIN"] == ["synthetic_train"]
    assert "OUTPUT_DIR" not in record["settings"]
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    assert read_record(path, run) == record
    assert read_record(tmp_path / "none.json", run) is None


def test_records_that_do_not_fit_are_refused_by_name(tmp_path):
    (run,) = plan_experiments([DEMO], [0], [0])
    (other,) = plan_experiments([DEMO], [0], [0], ["SOLVER.BASE_LR", "0.5"])
    write_run(tmp_path / "run")
    path = tmp_path / "record.json"
    path.write_text(json.dumps(make_record(run, tmp_path / "run", 1)))
    with pytest.raises(InputError, match=r"record\.json: is of a run with another SOLVER\.BASE_LR"):
        read_record(path, other)
    path.write_text("{")
    with pytest.raises(InputError, match="is no record of a run"):
        read_record(path, run)
    (tmp_path / "run" / "inference" / "nuclei_metrics.json").unlink()
    with pytest.raises(InputError, match=r"nuclei_metrics\.json: holds no result"):
        make_record(run, tmp_path / "run", 1)
