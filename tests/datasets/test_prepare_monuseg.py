"""``datasets/prepare_monuseg.py`` run as a command, on files of the published form."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import shapely
from PIL import Image
from pycocotools import mask as mask_util

from selfsam_d2.data.coco_json import load_coco_json
from selfsam_d2.data.registration import builtin_paths
from selfsam_d2.data.splits import OFFICIAL_SPLITS
from selfsam_d2.structures.label_maps import read_label_map

SCRIPT = "prepare_monuseg.py"
HEIGHT, WIDTH = 48, 56
STEMS = ("TCGA-18-5592-01Z-00-DX1", "TCGA-38-6178-01Z-00-DX1")


def hexagon(x, y, radius):
    angles = np.linspace(0, 2 * np.pi, 7)[:-1] + 0.3
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


OUTLINES = [hexagon(12.3, 14.1, 7), hexagon(20.2, 15.5, 6.2), hexagon(54.1, 40.7, 5)]


def xml_of(outlines):
    regions = "".join(
        f'<Region Id="{number}" NegativeROA="0"><Attributes/><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in outline)
        + "</Vertices></Region>"
        for number, outline in enumerate(outlines, start=1)
    )
    return (
        '<Annotations MicronsPerPixel="0.252000"><Annotation Id="1"><Regions>'
        f"<RegionAttributeHeaders/>{regions}</Regions><Plots/></Annotation></Annotations>"
    )


def inside(outline):
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return shapely.contains_xy(shapely.Polygon(outline), x, y)


@pytest.fixture
def published(tmp_path):
    images, annotations = tmp_path / "Tissue Images", tmp_path / "Annotations"
    images.mkdir()
    annotations.mkdir()
    for stem in STEMS:
        Image.new("RGB", (WIDTH, HEIGHT), (200, 150, 190)).save(
            images / f"{stem}.tif", compression="tiff_lzw"
        )
        (annotations / f"{stem}.xml").write_text(xml_of(OUTLINES))
    return images, annotations


def test_published_form_becomes_the_registered_dataset(tmp_path, published, run_python):
    images, annotations = published
    root = tmp_path / "root"
    arguments = ("--split", "train", "--images", images, "--annotations", annotations)
    status, stdout, stderr = run_python(
        f"datasets/{SCRIPT}", *arguments, "--any-images", DETECTRON2_DATASETS=str(root)
    )
    assert (status, stderr) == (0, "")
    masks = [inside(outline) for outline in OUTLINES]
    shared_pixels = (masks[0] & masks[1]).sum()
    assert shared_pixels > 0
    lines = stdout.splitlines()
    counted = "pixels in several outlines (given to the first), 0 outlines left without a pixel"
    assert lines[:3] == [
        *(f"{stem}.xml: {shared_pixels} {counted}" for stem in STEMS),
        f"2 XML files: {2 * shared_pixels} {counted}",
    ]
    assert "2 images, 6 nuclei, 0 points outside" in lines[3]
    expected = np.where(masks[0], 1, np.where(masks[1], 2, np.where(masks[2], 3, 0)))
    for stem in STEMS:
        path = root / "monuseg" / "train" / "labels" / f"{stem}.png"
        np.testing.assert_array_equal(read_label_map(path), expected)
        assert np.array(Image.open(path)).dtype == np.uint16
        link = root / "monuseg" / "train" / "images" / f"{stem}.tif"
        assert link.is_symlink()
        assert link.samefile(images / f"{stem}.tif")
    program = (
        "import selfsam_d2.data.registration as r; from detectron2.data import DatasetCatalog\n"
        "r.register_builtin_datasets(); d = DatasetCatalog.get('monuseg_train')\n"
        "print(len(d), sum(len(each['annotations']) for each in d))"
    )
    _, stdout, _ = run_python("-c", program, DETECTRON2_DATASETS=str(root))
    assert stdout.split() == ["2", "6"]


def test_that_nothing_overlaps_is_said_as_well(tmp_path, published, run_script):
    images, annotations = published
    stray = [np.array([[3.0, 3.0], [5.0, 3.0]])]
    for stem, outlines in zip(STEMS, (OUTLINES[1:], OUTLINES[:1] + stray), strict=True):
        (annotations / f"{stem}.xml").write_text(xml_of(outlines))
    arguments = ("--split", "train", "--images", images, "--annotations", annotations)
    status, stdout, _ = run_script(SCRIPT, *arguments, "--output", tmp_path, "--any-images")
    assert status == 0
    counted = "0 pixels in several outlines (given to the first), {} outlines left without a pixel"
    assert stdout.splitlines()[:3] == [
        f"{STEMS[0]}.xml: {counted.format(0)}",
        f"{STEMS[1]}.xml: {counted.format(1)}",
        f"2 XML files: {counted.format(1)}",
    ]


def test_one_folder_for_images_and_xml(tmp_path, published, run_script):
    images, annotations = published
    for path in annotations.iterdir():
        path.rename(images / path.name)
    arguments = ("--split", "test", "--images", images, "--output", tmp_path, "--points-only")
    status, _, stderr = run_script(SCRIPT, *arguments, "--any-images")
    assert (status, stderr) == (0, "")
    json_file, image_root = builtin_paths("monuseg", "test", tmp_path)
    records = load_coco_json(json_file, image_root)
    assert [len(record["annotations"]) for record in records] == [3, 3]
    assert all("segmentation" not in each for each in records[0]["annotations"])


def test_label_maps_and_a_second_run(tmp_path, published, run_script):
    images, _ = published
    labels = tmp_path / "labels_instance"
    labels.mkdir()
    truth = 5 * inside(OUTLINES[0]) + 9 * inside(OUTLINES[2])
    for stem in STEMS:
        Image.fromarray(truth.astype(np.uint16)).save(labels / f"{stem}.png")
    arguments = (
        *("--split", "val", "--images", images, "--labels", labels, "--output", tmp_path),
        "--any-images",
    )
    json_file, image_root = builtin_paths("monuseg", "val", tmp_path)
    image_root.mkdir(parents=True)
    (image_root / f"{STEMS[0]}.tif").write_text("left over from an earlier run")
    for _ in range(2):
        status, _, stderr = run_script(SCRIPT, *arguments)
        assert (status, stderr) == (0, "")
        for record in load_coco_json(json_file, image_root):
            rebuilt = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
            for nucleus, annotation in zip([5, 9], record["annotations"], strict=True):
                rebuilt += nucleus * mask_util.decode(annotation["segmentation"]).astype(np.int64)
            np.testing.assert_array_equal(rebuilt, truth)
    # Images that are at their place already stay there.
    status, _, stderr = run_script(SCRIPT, *arguments[:2], "--images", image_root, *arguments[4:])
    assert (status, stderr) == (0, "")
    assert (image_root / f"{STEMS[0]}.tif").samefile(images / f"{STEMS[0]}.tif")


def spoil_xml(images, annotations):
    (annotations / f"{STEMS[1]}.xml").write_text("<Annotations>")


def spoil_missing_xml(images, annotations):
    (annotations / f"{STEMS[1]}.xml").unlink()


def spoil_missing_image(images, annotations):
    (images / f"{STEMS[1]}.tif").unlink()


def spoil_image(images, annotations):
    path = images / f"{STEMS[1]}.tif"
    path.write_bytes(path.read_bytes()[:40])


def spoil_outlines(images, annotations):
    for stem in STEMS:
        (annotations / f"{stem}.xml").write_text(xml_of([]))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (spoil_xml, f"{STEMS[1]}.xml: is not XML"),
        (spoil_missing_xml, f"{STEMS[1]}.tif: no annotation XML of the same name"),
        (spoil_missing_image, f"{STEMS[1]}.xml: no image of the same name"),
        (spoil_image, f"{STEMS[1]}.tif: damaged"),
        (spoil_outlines, "no points"),
    ],
)
def test_bad_input_is_one_line(tmp_path, published, run_script, spoil, problem):
    images, annotations = published
    spoil(images, annotations)
    arguments = ("--split", "train", "--images", images, "--annotations", annotations)
    status, _, stderr = run_script(SCRIPT, *arguments, "--output", tmp_path, "--any-images")
    assert status == 2
    assert stderr.startswith("error: ")
    assert problem in stderr
    assert stderr.count("\n") == 1
    assert not builtin_paths("monuseg", "train", tmp_path).json_file.exists()


def test_the_official_split_is_asked_for(tmp_path, published, run_script):
    images, annotations = published
    arguments = ("--split", "val", "--images", images, "--output", tmp_path / "root")
    status, _, stderr = run_script(SCRIPT, *arguments, "--annotations", annotations)
    assert status == 2
    assert stderr.count("\n") == 1
    assert "(2 found; missing: TCGA-50-5931-01Z-00-DX1, TCGA-AR-A1AS-01Z-00-DX1" in stderr
    assert f"not of it: {STEMS[0]}.tif, {STEMS[1]}.tif); give" in stderr
    assert not (tmp_path / "root").exists()  # no label map of images that are not wanted
    for organ, old, name in zip(
        ("Breast", "Kidney", "Liver", "Prostate"),
        (*STEMS, *STEMS),
        sorted(OFFICIAL_SPLITS["monuseg"]["val"].names),
        strict=True,
    ):
        for folder, suffix in ((images, ".tif"), (annotations, ".xml")):
            shutil.copy(folder / f"{old}{suffix}", folder / f"{organ}_{name}{suffix}")
    for stem in STEMS:
        (images / f"{stem}.tif").unlink()
        (annotations / f"{stem}.xml").unlink()
    status, stdout, stderr = run_script(SCRIPT, *arguments, "--annotations", annotations)
    assert (status, stderr) == (0, "")
    assert "4 images, 12 nuclei" in stdout
