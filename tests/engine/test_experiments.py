"""Which runs a list of configs means, and what the record of each is."""

import json
from pathlib import Path

import pytest

from selfsam_d2.engine.experiments import (
    make_record,
    plan_experiments,
    read_record,
)
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.experiment_table import summarise_records

DEMO = "configs/demo.yaml"


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


def test_a_run_is_planned_once(tmp_path):
    (tmp_path / "copy.yaml").write_text(f"_BASE_: {Path(DEMO).absolute()}\n")
    again = [DEMO, str(tmp_path / "copy.yaml")]
    with pytest.raises(InputError, match="copy_shift0_seed0 is the run demo_shift0_seed0 again"):
        plan_experiments(again, [0])


@pytest.mark.parametrize(
    ("config_file", "opts", "problem"),
    [
        ("configs/mask_rcnn_sam_adapter_vitt_fpn.yaml", (), "is of GeneralizedRCNN, which learns"),
        ("configs/retinanet_sam_adapter_vitt_fpn.yaml", (), "is of RetinaNet, which learns"),
        ("configs/semantic_sam_adapter_vitt_fpn.yaml", (), "is of SemanticSegmentor, which learns"),
        ("configs/nuclei_head_R50_fpn.yaml", (), "is of NucleiSegmentor, which learns"),
        (DEMO, ("DATASETS.TEST", "()"), r"DATASETS\.TEST is empty"),
        ("configs/tnbc_vitt.yaml", ("SOLVER.MAX_ITER", "9"), "the images decide"),
    ],
)
def test_what_would_have_no_row_is_refused_before_it_is_trained(config_file, opts, problem):
    with pytest.raises(InputError, match=problem):
        plan_experiments([config_file], [0], None, opts)


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
    record = make_record(run, tmp_path / "run", 61.4, "abc-dirty", "0f")
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
    assert (record["commit"], record["base"]) == ("abc-dirty", "0f")
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    assert read_record(path, run) == record
    assert read_record(tmp_path / "none.json", run) is None


def test_the_config_of_a_record_repeats_the_run_whatever_the_defaults(tmp_path):
    folders = ("OUTPUT_DIR", "SELF_REFINE.BASE_STORE", "SELF_REFINE.STORE")
    given = [part for key in folders for part in (key, "/home/somebody")]
    (run,) = plan_experiments([DEMO], [4], [8], ["SOLVER.MAX_ITER", "9", *given])
    write_run(tmp_path / "run")
    record = json.loads(json.dumps(make_record(run, tmp_path / "run", 1, None, None)))
    assert record["config"]["POSTPROCESS"]["SOBEL_KERNEL"] == 21  # a default
    assert "somebody" not in json.dumps(record["config"])
    (tmp_path / "again.yaml").write_text(json.dumps(record["config"]))
    (again,) = plan_experiments([str(tmp_path / "again.yaml")], [4], None, given)
    assert again.config() == run.config()


def test_records_from_before_commit_base_and_config_were_kept_are_read(tmp_path):
    (run,) = plan_experiments([DEMO], [0], [0])
    write_run(tmp_path / "run")
    old = make_record(run, tmp_path / "run", 1, None, None)
    del old["commit"], old["base"], old["config"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert read_record(tmp_path / "old.json", run) == old
    assert summarise_records([old])[0]["seeds"] == [0]


def test_records_that_do_not_fit_are_refused_by_name(tmp_path):
    (run,) = plan_experiments([DEMO], [0], [0])
    (other,) = plan_experiments([DEMO], [0], [0], ["SOLVER.BASE_LR", "0.5"])
    write_run(tmp_path / "run")
    path = tmp_path / "record.json"
    path.write_text(json.dumps(make_record(run, tmp_path / "run", 1, None, None)))
    with pytest.raises(InputError, match=r"record\.json: is of a run with another SOLVER\.BASE_LR"):
        read_record(path, other)
    for content in ("{", "[]", "{}", '{"settings": []}', "[" * 100_000):
        path.write_text(content)
        for wanted in (run, None):
            with pytest.raises(InputError, match=r"record\.json: is no record of a run"):
                read_record(path, wanted)
    results = tmp_path / "run" / "inference" / "nuclei_metrics.json"
    results.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"nuclei_metrics\.json: holds no result"):
        make_record(run, tmp_path / "run", 1, None, None)
    results.unlink()
    with pytest.raises(InputError, match=r"nuclei_metrics\.json: holds no result"):
        make_record(run, tmp_path / "run", 1, None, None)
