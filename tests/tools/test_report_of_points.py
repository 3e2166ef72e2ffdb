"""The page of somebody who has points and no masks: nuclei and points on the training images."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.setup import load_config

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "tools" / "report.py"
START = "[11/30 21:18:58] d2.engine.train_loop INFO: Starting training from iteration {}\n"
STEP = "[11/30 21:19:20] d2.utils.events INFO:  eta: 0:24:43  iter: 19  total_loss: 5.483\n"
PLAN = "[11/30 21:18:57] t INFO: 4 images, 20 crops per epoch, 60 steps, 3 epochs\n"
ONCE = PLAN + START.format(0) + STEP
SCALARS = {
    **{"total_loss": 3.0, "loss_prompt": 1.0, "loss_foreground": 1.0, "loss_distance": 1.0},
    **{"loss_contrast": 0.0, "alpha": 1.0, "labels/prompt_ignored": 0.0, "lr": 1e-3, "time": 0.5},
    **{"labels/instance_ignored": 0.0, "labels/recovered": 0.0, "labels/empty_prompts": 0.0},
}


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """Name of a dataset of 4 images of 64 px, which have points and no masks."""
    folder = tmp_path_factory.mktemp("points")
    split = write_synthetic_dataset(folder, seed=0, train=4, val=1, size=64)["train"]
    assert "segmentation" not in split.json_file.read_text()
    register_nuclei_instances("report_points", split.json_file, split.image_root)
    return "report_points"


@pytest.fixture
def run(tiny_run, points, tmp_path):
    """A run with random weights and the log of 60 steps, without a test dataset."""
    folder = tmp_path / "mine"
    folder.mkdir()
    cfg = load_config(str(tiny_run / "config.yaml"), [])
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.SOLVER.IMS_PER_BATCH = (points,), (), 1
    (folder / "config.yaml").write_text(cfg.dump())
    (folder / "model_final.pth").symlink_to(tiny_run / "model_final.pth")
    (folder / "log.txt").write_text(ONCE)
    rows = [{"iteration": step, **SCALARS} for step in (19, 39, 59)]
    (folder / "metrics.json").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


@pytest.fixture
def page_of(run_here):
    """Function: folder, options -> the page, of a report that was written without a word."""

    def write(folder, *options):
        status, stdout, stderr = run_here(REPORT, folder, "--crops", "0", *options)
        assert (status, stdout, stderr) == (0, f"{folder / 'report.html'}\n", "")
        return (folder / "report.html").read_text()

    return write


def titles(page):
    return re.findall(r"<h2>(.*?)</h2>", page)


def rows_of(page, heading):
    """Rows of the table with a heading, as lists of text."""
    (table,) = (
        table for table in re.findall(r"<table.*?</table>", page, re.DOTALL) if heading in table
    )
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_sections_about_an_evaluation_are_left_out(run, page_of):
    page = page_of(run)
    assert titles(page) == [
        *("Nuclei found on training images", "Curves", "Pseudo labels over the epochs"),
        *("Times and memory", "Config"),
    ]
    first, *others = re.findall(r"<p>(.*?)</p>", page)
    assert "losses fall and level out, the contours follow the nuclei" in first
    assert "few points are left without a nucleus" in first
    (metrics,) = (each for each in others if "metrics" in each)
    assert "masks drawn by hand" in metrics
    assert "docs/your_dataset.md, &quot;Scored while it trains&quot;" in metrics
    assert "Scored while it trains" in (ROOT / "docs" / "your_dataset.md").read_text()


def test_contours_and_counts_of_training_images(run, page_of):
    page = page_of(run)
    for word in ("Smallest", "Median", "Largest"):
        assert f'alt="{word} difference: train_' in page
    assert "What model_final.pth finds on all training images that have points (4)" in page
    for meaning in (
        *("nucleus with one point", "point without a nucleus", "nucleus without a point"),
        "nucleus with several points",
    ):
        assert page.count(f"</i>{meaning}") == 3
    head, *rows, last = rows_of(page, "nuclei found")
    assert head == [
        *("image", "shown as", "points", "nuclei found", "points without a nucleus"),
        *("nuclei without a point", "nuclei with several points", "difference, %"),
    ]
    assert [row[0] for row in rows] == [f"train_{number:02d}" for number in range(4)]
    assert {row[1] for row in rows} == {"", "smallest", "median", "largest"}
    numbers = [[int(cell) for cell in row[2:7]] for row in rows]
    assert all(points > 0 for points, *_ in numbers)
    for row, (points_, _, alone, without, _) in zip(rows, numbers, strict=True):
        assert float(row[7]) == pytest.approx(100 * (alone + without) / points_, abs=0.051)
    sums = [sum(column) for column in zip(*numbers, strict=True)]
    assert last[:7] == ["all", "", *map(str, sums)]
    assert float(last[7]) == pytest.approx(100 * (sums[2] + sums[3]) / sums[0], abs=0.051)


def test_symbols_are_explained_where_they_first_appear(run, page_of):
    page = page_of(run)
    explained = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    for symbol in ("L_P", "L_B", "L_D", "L_C", "HV", "S_P", "S_I", "alpha"):
        assert len(explained[symbol]) > 20
        assert re.search(rf"\b{symbol}\b", page[: page.index("<dl>")]) is None
    # What is the same in all epochs is a line.
    assert (
        "The same for each epoch: alpha 1.00, ignored in S_P 0.00 % of the pixels, ignored in S_I "
        "0.00 % of the pixels, recovered 0.00 % of the pixels, points without a label 0.00 % of "
        "the points."
    ) in page
    assert '<th scope="col" class="text">epoch' not in page


def test_several_trainings_in_a_folder_are_said_to_be_mixed(run, page_of):
    title = "Several trainings are mixed here"
    (run / "model_final.pth").unlink()  # spares the predictions
    (run / "log.txt").write_text(ONCE + START.format(20) + STEP)
    assert title not in titles(page_of(run))
    (run / "log.txt").write_text(ONCE + ONCE)
    page = page_of(run)
    assert titles(page)[0] == title
    assert "2 trainings were started from step 0 in this folder" in page


def test_what_is_missing_is_one_line(run, page_of, points):
    (run / "model_final.pth").unlink()
    page = page_of(run)
    assert "None is shown: " in page
    assert "no checkpoint in it" in page
    assert "difference:" not in page
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(points, "not_there"))
    line = "None is shown: dataset &#x27;not_there&#x27;: unknown; register it with --register"
    assert line in page_of(run)


def test_weights_that_are_given_are_used_or_refused(run, page_of, run_here, tiny_run):
    other = run / "other.pth"
    (run / "model_final.pth").rename(other)
    assert "What other.pth finds on all training images" in page_of(run, "--weights", other)
    status, _, stderr = run_here(REPORT, run, "--crops", "0", "--weights", run / "none.pth")
    assert status == 2
    assert "none.pth" in stderr


def test_the_page_in_a_browser(run, page_of, browser):
    page_of(run)
    browser.get_log("browser")
    browser.get((run / "report.html").as_uri())
    assert browser.get_log("browser") == []
    alts = browser.execute_script(
        "return [...document.images].map((each) => [each.alt, each.naturalWidth])"
    )
    assert [alt.split()[0] for alt, _ in alts] == [
        *("Smallest", "Median", "Largest", "Over", "Learning"),
    ]
    curves = dict(alts).pop("Over the training steps")
    assert all(width >= 1000 for alt, width in alts if not alt.startswith("Over"))
    # Of losses alone: there are no metrics, and no number of the labels changes.
    assert curves == 550
