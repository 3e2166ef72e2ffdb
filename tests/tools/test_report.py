"""tools/report.py: the page of a training, looked at in a browser; and what is no training."""

import json
import logging
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.visualization.page import Page, Section, Table, write_page

ROOT = Path(__file__).parents[2]
NAMES = {"train": "report_<b>train", "val": "report_val"}
SMALL = [
    *("MODEL.SAM.INPUT_SIDE", "64", "INPUT.NUCLEI.CROP", "64", "INFERENCE.WINDOW", "64"),
    *("INFERENCE.OVERLAP", "16", "DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "1"),
    *("MODEL.WEIGHTS", "", "POSTPROCESS.FOREGROUND_THRESHOLD", "0.5", "SOLVER.CHECKPOINT_PERIOD"),
    *("1", "TEST.EVAL_PERIOD", "0", "SEED", "0", "PSEUDO_LABEL.CONSENSUS_START", "1"),
    *("TEST.COCO_AP", "True", "SOLVER.BASE_LR", "1e-9", "SOLVER.MIN_LR", "0"),
]
LOGGERS = ("detectron2", "selfsam_d2")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    splits = write_synthetic_dataset(folder, seed=0, train=1, val=3, size=64)
    for split, name in NAMES.items():
        register_nuclei_instances(name, splits[split].json_file, splits[split].image_root)
    return splits


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A training of 3 epochs, each of a step, with its log."""
    folder = tmp_path_factory.mktemp("runs") / "run <i>1"
    folder.mkdir()
    cfg = load_config(str(ROOT / "configs" / "demo.yaml"), [*SMALL, "SOLVER.MAX_ITER", "3"])
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (NAMES["train"],), (NAMES["val"],)
    cfg.OUTPUT_DIR = str(folder)
    (folder / "config.yaml").write_text(cfg.dump())
    handler = logging.FileHandler(folder / "log.txt")
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.addHandler(handler)
        each.setLevel(logging.INFO)
    trainer = SelfSAMTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    for each, level in zip(loggers, levels, strict=True):
        each.removeHandler(handler)
        each.setLevel(level)
    handler.close()
    return folder


@pytest.fixture
def report(data, monkeypatch, capfd):
    """Run the tool in this process, which spares its imports: (status, stdout, stderr)."""
    monkeypatch.setattr(logging, "captureWarnings", lambda capture: None)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["tools/report.py", *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(str(ROOT / "tools" / "report.py"), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        return status, *capfd.readouterr()

    return command


def images_of(browser):
    return browser.execute_script(
        "return [...document.images].map((each) => [each.alt, each.naturalWidth])"
    )


def column(browser, number):
    return browser.execute_script(
        "return [...document.querySelector('table.sortable').tBodies[0].rows]"
        ".map((row) => row.cells[arguments[0]].textContent)",
        number,
    )


def test_a_whole_run_in_a_browser(run, report, browser, tmp_path):
    output = tmp_path / "page.html"
    status, stdout, stderr = report(run, "--output", output, "--crops", "1")
    assert (status, stdout, stderr) == (0, f"{output}\n", "")
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(output.as_uri())
    assert browser.title == "Training run <i>1"
    assert browser.get_log("browser") == []
    text = browser.find_element("tag name", "body").text
    assert "report_<b>train; 3 steps are logged" in text
    pictures = images_of(browser)
    assert all(width > 0 for _, width in pictures)
    words = [alt.split()[0] for alt, _ in pictures]
    # What is looked at first comes first; there is one training image only.
    assert words == ["Best", "Median", "Worst", "Smallest", "Over", "Learning", "S_P"]
    assert text.count("Predictions of the last evaluation") == 3
    # The symbol as it is in the table and in the config.
    alphas = {"epoch 0": "1.00", "epoch 1": "0.67", "epoch 2": "0.33", "end": "0.33"}
    for moment in (f"{when}, alpha = {alpha}" for when, alpha in alphas.items()):
        assert moment in text
    for kind in ("missed", "spurious", "merged", "split", "found"):
        assert kind in text

    head = browser.find_elements("css selector", "table.sortable th button")
    names = ["val_00", "val_01", "val_02"]
    assert column(browser, 0) == names
    head[0].click()
    assert column(browser, 0) == names
    head[0].click()
    assert column(browser, 0) == names[::-1]

    requests = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        for message in [json.loads(entry["message"])["message"]]
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert all(url.startswith(("file:", "data:")) for url in requests)
    assert output.as_uri() in requests


def test_numbers_are_sorted_by_size_and_the_undefined_are_last(browser, tmp_path):
    rows = [("a", 10.0), ("b", 9.0), ("c", None), ("d", 100.0), ("e", -20.0), ("f", -3.0)]
    table = Table(("image", "value"), rows, footer=[("mean", 1.0)], sortable=True)
    write_page(Page("t", [], [Section("s", [table])]), tmp_path / "page.html")
    browser.get((tmp_path / "page.html").as_uri())
    head = browser.find_elements("css selector", "table.sortable th button")[1]
    for names in ("efbadc", "dabfec"):
        head.click()
        assert "".join(column(browser, 0)) == names
    assert browser.find_element("css selector", "tfoot td").text == "mean"


def test_the_page_of_a_phone_is_not_wider_than_it(run, report, browser, tmp_path):
    output = tmp_path / "page.html"
    assert report(run, "--output", output, "--crops", "0")[0] == 0
    screen = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(output.as_uri())
    width = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width <= 390


def test_without_the_predictions_images_are_predicted_anew(run, report, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    results = copy / "inference" / "coco_instances_results.json"
    results.unlink()
    assert report(copy, "--crops", "0")[0] == 0
    anew = (copy / "report.html").read_text()
    assert anew.count("Predicted anew with model_final.pth") == 3
    status, _, stderr = report(copy, "--crops", "0", "--weights", copy / "none.pth")
    assert status == 2
    assert "none.pth" in stderr


def test_half_a_run_says_what_is_missing(run, report, tmp_path):
    copy = tmp_path / "half"
    copy.mkdir()
    shutil.copy(run / "config.yaml", copy)
    assert report(copy)[0] == 0
    page = (copy / "report.html").read_text()
    for words in (
        *("Nothing is logged yet", "There are no metrics of report_val yet", "0 steps are logged"),
        *("masks drawn by hand", "TEST.EVAL_PERIOD", "docs/your_dataset.md"),
        *("No epochs are known", "no checkpoint is kept"),
        *("Nuclei found on training images", "None is shown: ", "no checkpoint in it"),
    ):
        assert words in page
    # Nothing is said of an evaluation but that.
    assert "<h2>Result" not in page
    assert "Images of the evaluation" not in page
    assert "<img" not in page


def test_mask_r_cnn_has_no_pseudo_labels(data, report, tmp_path):
    config = ROOT / "configs" / "mask_rcnn_sam_adapter_vitt_fpn.yaml"
    cfg = load_config(str(config), [])
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (NAMES["val"],), ("not_there",)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    row = {"iteration": 19, "total_loss": 2.0, "loss_cls": 1.0, "loss_mask": 1.0, "lr": 0.1}
    (tmp_path / "metrics.json").write_text(json.dumps(row))
    metrics = {"mean": {"AJI": 0.5}, "images": {"a": {"AJI": 0.5}}, "both_empty": 0}
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference" / "nuclei_metrics.json").write_text(json.dumps(metrics))
    assert report(tmp_path)[0] == 0
    page = (tmp_path / "report.html").read_text()
    assert "GeneralizedRCNN learns from masks: none." in page
    assert "No overlays: dataset &#x27;not_there&#x27;: unknown; register it" in page
    assert page.count("<img") == 2
    assert "contours follow the nuclei." in page  # there are no points to speak of
    assert "Nuclei found on training images" not in page
    assert "<dl>" not in page  # no symbol of ours is in its diagrams


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["no config.yaml", "OUTPUT_DIR"]),
        (["--crops", "-1"], ["--crops -1"]),
        (["--register", "mine", "none.json", "."], ["none.json: no such file"]),
        (["--dataset", "other"], ["no config.yaml"]),
        (["--output", "none/page.html"], ["none/page.html", "no folder"]),
        (["--sort"], ["--sort"]),
    ],
)
def test_errors_are_one_line(arguments, words, report, tmp_path):
    status, stdout, stderr = report(tmp_path, *arguments)
    assert (status, stdout) == (2, "")
    assert stderr.count("\n") == 1
    assert all(word in stderr for word in words)
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_named(run, report, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("*.pth"))
    (copy / "inference" / "nuclei_metrics.json").write_text("{")
    status, _, stderr = report(copy, "--crops", "0")
    assert status == 2
    assert "nuclei_metrics.json: cannot be read" in stderr
    status, _, stderr = report(copy, "--dataset", "other")
    assert "--dataset other: is none of DATASETS.TEST" in stderr
