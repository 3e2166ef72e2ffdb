"""The commands of "Your own data in five steps", as they stand in the README, on small images."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import center_of_mass

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.structures.label_maps import read_label_map

ROOT = Path(__file__).parents[2]
TINY = [
    *("MODEL.WEIGHTS", "", "MODEL.SAM.INPUT_SIDE", "64", "INPUT.NUCLEI.CROP", "64"),
    *("INFERENCE.WINDOW", "64", "INFERENCE.OVERLAP", "16", "INFERENCE.TILE", "0"),
    *("SOLVER.EPOCHS", "1", "SOLVER.COSINE_T_MAX", "1", "PSEUDO_LABEL.REPROMPT", "False"),
    *("INPUT.NUCLEI.MIN_CROPS_PER_EPOCH", "0"),
    # Two steps teach nothing: what little is seen shall count.
    *("POSTPROCESS.FOREGROUND_THRESHOLD", "0.3", "DATALOADER.NUM_WORKERS", "0"),
]
# All commands in one process, which spares imports.
CODE = """
import json, runpy, sys
for script, *arguments in json.load(sys.stdin):
    sys.argv = [script, *arguments]
    sys.path.insert(0, script.rsplit("/", 1)[0])
    runpy.run_path(script, run_name="__main__")
"""


def commands():
    """Arguments of each command of the section, the interpreter left out."""
    text = (ROOT / "README.md").read_text()
    section = text.split("## Your own data in five steps\n")[1].split("\n## ")[0]
    lines = re.sub(r"\\\n\s*", " ", section).splitlines()
    typed = [shlex.split(line) for line in lines if line.startswith("    ")]
    once, typed = typed[:3], typed[3:]
    assert [words[0] for words in once] == ["sudo", "make", "mkdir"]
    assert {words[0] for words in typed} == {".venv/bin/python"}
    return [words[1:] for words in typed]


def feature(geometry, coordinates):
    return {
        "type": "Feature",
        "geometry": {"type": geometry, "coordinates": coordinates},
        "properties": {"objectType": "annotation"},
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Folder in which the commands were typed; their stdout; true number of nuclei."""
    folder = tmp_path_factory.mktemp("here")
    for name in ("my/images", "my/points"):
        (folder / name).mkdir(parents=True)
    for name in ("tools", "datasets", "configs"):
        (folder / name).symlink_to(ROOT / name)
    count = 0
    for seed, stem in enumerate("ab"):
        image, truth = make_synthetic_image(np.random.default_rng(seed), 96, 10)
        Image.fromarray(image).save(folder / "my" / "images" / f"{stem}.png")
        ids = np.unique(truth)[1:]
        centres = [[x + 0.5, y + 0.5] for y, x in center_of_mass(truth > 0, truth, ids)]
        features = [feature("MultiPoint", centres)]
        if stem == "b":
            ring = [[0, 0], [96, 0], [96, 96], [0, 96], [0, 0]]
            features.append(feature("Polygon", [ring]))
        content = {"type": "FeatureCollection", "features": features}
        (folder / "my" / "points" / f"{stem}.geojson").write_text(json.dumps(content))
        count += len(ids)
    (folder / "my" / "new_images").mkdir()
    new, _ = make_synthetic_image(np.random.default_rng(9), 96, 10)
    Image.fromarray(new).save(folder / "my" / "new_images" / "new.png")
    prepare, train, *others, app = commands()
    assert [words[0] for words in others] == ["tools/predict.py"] * 2 + ["tools/report.py"]
    assert app[0] == "tools/app.py"  # it runs until Ctrl+C: tests/tools/test_app.py
    process = subprocess.run(
        [sys.executable, "-c", CODE],
        input=json.dumps([prepare, [*train, *TINY], *others]),
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert process.returncode == 0, process.stderr
    return folder, process.stdout, count


def test_the_dataset_has_the_points_and_says_what_the_next_step_registers(done):
    _, stdout, count = done
    assert f"my/mine.json: 2 images, {count} points" in stdout
    register = "--register mine my/mine.json my/images"
    assert f"use it with: {register}" in stdout
    assert register in " ".join(commands()[1])


def test_the_training_leaves_the_model_that_the_next_step_takes(done):
    folder, _, _ = done
    assert {"model_final.pth", "config.yaml"} <= {
        path.name for path in (folder / "output" / "mine").iterdir()
    }


def test_each_image_gets_the_files_that_are_promised(done):
    folder, _, _ = done
    names = {path.name for path in (folder / "my" / "nuclei").glob("[!.]*")}
    assert (folder / "my" / "new_nuclei" / "new.geojson").is_file()
    promised = ("{}.geojson", "{}_overlay.png", "{}_labels.png", "{}.csv")
    assert names == {name.format(stem) for stem in "ab" for name in promised}
    section = (ROOT / "README.md").read_text().split("**5. Look.**")[1].split("\n## ")[0]
    assert all(name.format("a") in section for name in promised)
    for stem in "ab":
        features = json.loads((folder / "my" / "nuclei" / f"{stem}.geojson").read_text())
        labels = read_label_map(folder / "my" / "nuclei" / f"{stem}_labels.png")
        assert len(features["features"]) == labels.max()


def test_the_report_is_where_the_text_says(done):
    folder, _, _ = done
    page = (folder / "output" / "mine" / "report.html").read_text()
    # The training has kept where its images are.
    assert "Nuclei found on training images" in page
    assert "None is shown" not in page
