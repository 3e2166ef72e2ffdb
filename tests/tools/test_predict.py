"""tools/predict.py as typed: a folder of images, a second start, errors in one line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.structures.label_maps import read_label_map

ROOT = Path(__file__).parents[2]
ALL_FORMATS = ("geojson", "labels", "overlay", "coco", "csv", "parquet")
SUFFIXES = (".csv", ".geojson", "_labels.png", "_overlay.png")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two images and one that is cut off."""
    folder = tmp_path_factory.mktemp("images")
    for seed, name in enumerate("abc"):
        image, _ = make_synthetic_image(np.random.default_rng(seed), 96, 12)
        Image.fromarray(image).save(folder / f"{name}.png")
    broken = folder / "c.png"
    broken.write_bytes(broken.read_bytes()[:200])
    return folder


@pytest.fixture(scope="module")
def done(tiny_run, images, svs, tmp_path_factory):
    """Folder of outputs; name of a command -> its exit status and stderr."""
    folder = tmp_path_factory.mktemp("done")
    image, _ = make_synthetic_image(np.random.default_rng(9), 96, 12)
    slide = svs(folder / "scan.svs", image, 0.4)
    cut = ["--tile", "64", "--tile-margin", "16", "INPUT.NUCLEI.MICRONS_PER_PIXEL", "0.5"]
    cut += ["POSTPROCESS.FOREGROUND_THRESHOLD", "0.48"]  # smaller tiles are less sure
    given = ["--weights", str(tiny_run / "model_final.pth"), "--input"]
    out, wrong = str(folder / "out"), str(folder / "wrong")
    bad = ["--weights", "no_such.pth", "--output", wrong, "--input", str(images / "a.png")]
    csv = ["--formats", "csv", "--microns-per-pixel", "0.5", *cut]
    mixed = [*given, str(images), str(slide), *csv]
    commands = {
        "folder": [*given, str(images), "--microns-per-pixel", "0.5", "--output", out],
        "again": [*given, str(images / "[ab].png"), "--output", out, "--resume"],
        "overrides": [
            *(*given, str(images / "a.png"), "--formats", "csv", "--device", "cpu", "--output"),
            *(str(folder / "none"), "POSTPROCESS.FOREGROUND_THRESHOLD", "1.0"),
        ],
        "--formats": [*bad, "--formats", "svg"],
        "slide": [*given, str(slide), "--output", out, "--formats", *ALL_FORMATS, *cut],
        "one": [*mixed, "--output", str(folder / "one")],
        "processes": [*mixed, "--output", str(folder / "processes"), "--num-processes", "2"],
        "ray": [*mixed, "--output", str(folder / "ray"), "--ray", "local", "--num-processes", "2"],
        "--tile": [*bad, "--tile", "3"],
        "--num-gpus": [*bad, "--num-gpus", "0"],
        "--microns-per-pixel": [*bad, "--microns-per-pixel", "-1"],
        "not allowed with": [*bad, "--overwrite", "--resume"],
        "no_such.pth": bad,
        "KEY VALUE pairs go behind": [*bad, "--formats", "csv", "INPUT.NUCLEI.CROP", "64"],
        "a path with blanks goes into quotes": [*bad[:-1], str(images / "a"), "b.png"],
        "(a path with blanks goes into quotes)": [*bad, "--tile", "64", "--none"],
        "is a folder": ["--weights", str(tiny_run), *bad[2:]],
    }
    process = subprocess.run(
        [sys.executable, ROOT / "tests" / "tools" / "run_commands.py", "tools/predict.py"],
        input=json.dumps(list(commands.values())),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return folder, dict(zip(commands, json.loads(process.stdout), strict=True))


def test_a_folder_is_predicted_and_what_is_broken_named(done, images):
    folder, results = done
    out = folder / "out"
    status, stderr = results["folder"]
    assert status == 2, stderr
    lines = stderr.splitlines()
    assert len(lines) == 3, stderr
    assert lines[0].startswith("images: µm/px of the training images not known")
    assert lines[1].startswith(f"{images / 'c.png'}: truncated")
    assert lines[2] == f"error: 1 of 3 images failed: {images / 'c.png'}"
    assert sorted(
        path.name for path in out.glob("[!.]*") if not path.name.startswith("scan")
    ) == sorted(f"{stem}{suffix}" for stem in "ab" for suffix in SUFFIXES)
    nuclei = read_label_map(out / "a_labels.png").max()
    assert nuclei > 0
    header, *rows = (out / "a.csv").read_text().splitlines()
    assert "area_um2" in header
    assert len(rows) == nuclei
    assert len(json.loads((out / "a.geojson").read_text())["features"]) == nuclei
    assert results["again"] == [0, ""]


def test_a_slide_has_the_files_of_an_image(done):
    folder, results = done
    assert results["slide"] == [0, ""]
    names = (f"scan{suffix}" for suffix in (*SUFFIXES, ".coco.json", ".parquet"))
    expected = sorted(name.replace("_labels.png", "_labels.ome.tif") for name in names)
    assert sorted(path.name for path in (folder / "out").glob("scan*")) == expected
    labels = tifffile.imread(folder / "out" / "scan_labels.ome.tif")
    assert labels.shape == (96, 96)
    count = labels.max()
    assert count > 0
    _, *rows = (folder / "out" / "scan.csv").read_text().splitlines()
    assert len(rows) == count
    assert len(json.loads((folder / "out" / "scan.coco.json").read_text())["annotations"]) == count


@pytest.mark.parametrize("way", ["processes", "ray"])
def test_several_workers_write_what_one_writes(way, done, images):
    folder, results = done
    assert results["one"][0] == 2
    status, stderr = results[way]
    assert status == 2, stderr
    lines = stderr.splitlines()
    assert len(lines) == 2, stderr
    assert lines[0].startswith(f"{images / 'c.png'}: truncated")
    assert lines[1] == f"error: 1 of 4 images failed: {images / 'c.png'}"
    assert {path.name for path in (folder / way).glob("[!.]*")} == {"a.csv", "b.csv", "scan.csv"}
    for path in (folder / "one").glob("*.csv"):
        expected, rows = (np.genfromtxt(p, delimiter=",") for p in (path, folder / way / path.name))
        assert len(expected) > 1
        # Another number of threads adds up in another order: the score's last digit may differ.
        np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_keys_behind_the_output_override_the_config(done):
    folder, results = done
    status, stderr = results["overrides"]
    assert status == 0, stderr
    (line,) = stderr.splitlines()
    assert line.startswith("images: µm/px unknown, theirs and those of the training images")
    assert [path.name for path in (folder / "none").glob("[!.]*")] == ["a.csv"]
    assert (folder / "none" / "a.csv").read_text().count("\n") == 1


@pytest.mark.parametrize(
    "word",
    [
        *("--formats", "--tile", "--num-gpus", "--microns-per-pixel", "not allowed with"),
        *("no_such.pth", "KEY VALUE pairs go behind", "a path with blanks goes into quotes"),
        *("(a path with blanks goes into quotes)", "is a folder"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(word, done):
    folder, results = done
    status, stderr = results[word]
    assert status == 2, stderr
    assert stderr.count("\n") == 1, stderr
    assert word in stderr
    assert not list(folder.glob("wrong/*"))
