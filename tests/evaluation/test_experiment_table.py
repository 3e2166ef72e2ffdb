"""The table of runs: groups, means and deviations, and the figures beside them."""

import csv
import io
import statistics

import pytest

from selfsam_d2.engine.experiments import plan_experiments
from selfsam_d2.engine.method_names import method_of
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.experiment_table import (
    METRICS,
    format_csv,
    format_markdown,
    summarise_records,
)
from selfsam_d2.evaluation.paper import paper_figure


def record(aji, seed=0, method="self-refining", shift=0.0, dataset="monuseg_val", **rest):
    mean = {name: aji + 0.01 * place for place, name in enumerate(METRICS)}
    mean["AJI"] = aji
    return {
        "name": f"{method}_{seed}",
        "settings": {"SOLVER.EPOCHS": 10, "SEED": seed, "INPUT.NUCLEI.SHIFT": shift},
        "encoder": "vit_t",
        "method": method,
        "shift": shift,
        "seed": seed,
        "steps": 100,
        "seconds": 600,
        "results": {dataset: {"mean": mean}},
        **rest,
    }


def test_runs_on_different_base_weights_have_no_mean():
    both = [record(0.5, seed=0, base="0f"), record(0.5, seed=1, base="0f"), record(0.5, seed=2)]
    assert summarise_records(both)[0]["seeds"] == [0, 1, 2]
    with pytest.raises(InputError, match=r"_0, .*_3: trained on different base weights"):
        summarise_records([*both, record(0.5, seed=3, base="a0")])


def test_seeds_of_one_row_are_averaged_and_nothing_else():
    rows = summarise_records(
        [
            record(0.50, seed=1),
            record(0.54, seed=0, steps=300),
            record(0.40, method="static"),
            record(0.30, shift=8.0),
            record(0.20, dataset="tnbc_val"),
        ]
    )
    assert [(row["dataset"], row["shift"], row["method"]) for row in rows] == [
        ("monuseg_val", 0.0, "static"),
        ("monuseg_val", 0.0, "self-refining"),
        ("monuseg_val", 8.0, "self-refining"),
        ("tnbc_val", 0.0, "self-refining"),
    ]
    ours = rows[1]
    assert ours["seeds"] == [0, 1]
    assert ours["steps"] == 200
    assert ours["minutes"] == pytest.approx(10)
    assert ours["metrics"]["AJI"]["mean"] == pytest.approx(0.52)
    assert ours["metrics"]["AJI"]["sd"] == pytest.approx(statistics.stdev([0.50, 0.54]))
    assert rows[0]["metrics"]["AJI"] == {"mean": 0.40, "sd": None}


def test_what_is_not_defined_is_left_out_of_the_mean():
    empty = record(0.5)
    empty["results"]["monuseg_val"]["mean"]["PQ"] = None
    (row,) = summarise_records([empty, record(0.6, seed=1)])
    assert row["metrics"]["PQ"]["sd"] is None
    (nothing,) = summarise_records([empty])
    assert nothing["metrics"]["PQ"] == {"mean": None, "sd": None}
    assert "–" in format_markdown([nothing])


def with_settings(aji, seed=0, **changed):
    made = record(aji, seed)
    made["settings"].update({key.replace("__", "."): value for key, value in changed.items()})
    return made


def test_runs_of_other_settings_are_rows_of_their_own_and_say_so():
    rows = summarise_records(
        [
            with_settings(0.50),
            with_settings(0.52, seed=1),
            with_settings(0.60, SOLVER__EPOCHS=5, PROMPT__SPACING_BOX=True),
            record(0.40, method="static"),
        ]
    )
    assert [(row["method"], row["seeds"]) for row in rows] == [
        ("static", [0]),
        ("self-refining, PROMPT.SPACING_BOX True, SOLVER.EPOCHS 5", [0]),
        ("self-refining, PROMPT.SPACING_BOX default, SOLVER.EPOCHS 10", [0, 1]),
    ]
    assert [row["metrics"]["AJI"]["mean"] for row in rows] == pytest.approx([0.40, 0.60, 0.51])


def test_a_seed_counts_once():
    with pytest.raises(InputError, match="first, second: seed 1 is there twice in a row"):
        summarise_records(
            [record(0.5, 1, name="first"), record(0.6, 0), record(0.7, 1, name="second")]
        )


def test_the_paper_prints_a_figure_for_some_rows():
    assert paper_figure("consep", "vit_h", "self-refining", 8) == pytest.approx((0.673, 0.410))
    assert paper_figure("consep", "vit_h", "self-refining", 8.5) is None
    assert paper_figure("monuseg", "vit_t", "self-refining", 0) is None


def of_config(config_file, *opts, dataset=None):
    (run,) = plan_experiments([config_file], [0], None, opts)
    (test,) = run.cfg.DATASETS.TEST
    rest = {"settings": run.settings(), "encoder": run.cfg.MODEL.SAM.ENCODER}
    shift = run.cfg.INPUT.NUCLEI.SHIFT
    return record(0.5, 0, method_of(run.cfg), shift, dataset or test, **rest)


def has_figure(*arguments, **options):
    (row,) = summarise_records([of_config(*arguments, **options)])
    return row["paper"] is not None


VIT_B = "configs/monuseg_vitb.yaml"
PAPER = ("cpm17", "monuseg", "consep")


@pytest.mark.parametrize(
    "name",
    [
        *(f"{data}_vith{shift}" for data in PAPER for shift in ("", "_shift8")),
        *(f"ablations/{data}_vith_static{end}" for data in PAPER for end in ("", "_shift8")),
        *(
            f"ablations/{data}_vitb_{row}"
            for data in PAPER[:2]
            for row in ("static", "no_contrast")
        ),
        *(f"{data}_vitb" for data in PAPER),
        *(f"ablations/{data}_vitb_alpha_constant" for data in PAPER),
        *(f"ablations/{data}_vitb_alpha_exponential" for data in PAPER),
        *(f"ablations/{data}_vitb_alpha_step" for data in PAPER),
        *("ablations/consep_vitb_static", "ablations/consep_vitl_static", "consep_vitl"),
    ],
)
def test_the_config_of_each_row_of_the_paper_has_its_figure(name):
    assert has_figure(f"configs/{name}.yaml")


@pytest.mark.parametrize(
    ("opts", "dataset"),
    [
        (("PROMPT.SPACING_BOX", "True"), None),
        (("PSEUDO_LABEL.VORONOI", "True"), None),
        (("SOLVER.EPOCHS", "10"), None),
        (("SOLVER.MAX_ITER", "400"), None),
        (("MODEL.LOSS.CONTRAST_WEIGHT", "0.5"), None),
        (("MODEL.WEIGHTS", "mine.pth"), None),
        (("DATASETS.TRAIN", "mine_train"), None),
        ((), "monuseg_train"),
        ((), "monuseg"),
        ((), "cpm17_test"),
    ],
)
def test_what_is_no_row_of_the_paper_has_no_figure(opts, dataset):
    assert not has_figure(VIT_B, *opts, dataset=dataset)


def test_the_figures_of_the_paper_stand_beside_their_row_and_say_of_what_they_are():
    fast = ("SELF_REFINE.BASE_CACHE", "True")
    rows = summarise_records(
        [of_config(VIT_B, *fast, dataset="monuseg_test"), record(0.5, dataset="mine")]
    )
    assert rows[0]["paper"] is None
    assert rows[1]["paper"] == pytest.approx({"Dice": 0.7522, "AJI": 0.5353})
    markdown = format_markdown(rows)
    assert "0.752 / 0.535" in markdown
    assert "| paper, its test images: Dice / AJI" in markdown
    assert markdown.splitlines()[-1].endswith(
        "`object_Dice` and `AJI_fast` are the columns to compare with."
    )
    assert "InstaSAM" not in format_markdown(rows[:1])


def test_markdown_is_this_text():
    rows = summarise_records([record(0.5), record(0.52, seed=1), record(0.4, shift=8.0)])
    assert METRICS == ("Dice", "AJI", "AJI_plus", "AJI_fast", "object_Dice", "PQ", "F1")
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in format_markdown(rows).splitlines()
    ]
    first = ["images", "encoder", "labels", "shift", "seeds", "steps", "min"]
    assert lines[0] == [*first, *METRICS, "paper, its test images: Dice / AJI"]
    assert lines[2][:9] == [
        *("monuseg_val", "vit_t", "self-refining", "0", "0, 1", "100", "10"),
        *("0.510 ± 0.014", "0.510 ± 0.014"),
    ]
    assert lines[3][:9] == [
        *("monuseg_val", "vit_t", "self-refining", "8", "0", "100", "10", "0.400", "0.400"),
    ]
    assert [line[-1] for line in lines[2:]] == ["–", "–"]
    assert format_markdown(rows).endswith("|\n")
    assert " 0.400 " in format_markdown(rows[1:])  # of a column of numbers, too


def test_csv_is_this_text():
    rows = summarise_records([record(0.5, seconds=100), record(0.25, shift=8.0, seed=3)])
    rows[0]["paper"] = {"Dice": 0.75, "AJI": 0.5}
    for row in rows:
        row["metrics"] = {**row["metrics"], **{key: {"mean": 1, "sd": 2} for key in METRICS[2:]}}
    assert format_csv(rows) == (
        "dataset,encoder,method,shift,seeds,steps,minutes,Dice_mean,Dice_sd,AJI_mean,AJI_sd,"
        "AJI_plus_mean,AJI_plus_sd,AJI_fast_mean,AJI_fast_sd,object_Dice_mean,object_Dice_sd,"
        "PQ_mean,PQ_sd,F1_mean,F1_sd,paper_Dice,paper_AJI\n"
        "monuseg_val,vit_t,self-refining,0.0,0,100,1.67,0.5,,0.5,,1,2,1,2,1,2,1,2,1,2,0.75,0.5\n"
        "monuseg_val,vit_t,self-refining,8.0,3,100,10.0,0.25,,0.25,,1,2,1,2,1,2,1,2,1,2,,\n"
    )


def test_markdown_and_csv_hold_every_row():
    rows = summarise_records([record(0.5), record(0.52, seed=1), record(0.4, method="static")])
    lines = format_markdown(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    assert "0.510 ± 0.014" in lines[3]
    read = list(csv.DictReader(io.StringIO(format_csv(rows))))
    assert [float(row["AJI_mean"]) for row in read] == pytest.approx([0.4, 0.51])
    assert read[0]["AJI_sd"] == ""
    assert read[1]["seeds"] == "0 1"
