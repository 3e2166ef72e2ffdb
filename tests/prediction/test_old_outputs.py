"""A stopped --overwrite: what it has not come to is not kept, what it has written is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from selfsam_d2.errors import InputError
from selfsam_d2.outputs.writers import write_output
from selfsam_d2.prediction.old_outputs import NOTE, note_old_outputs, old_outputs
from selfsam_d2.prediction.options import Outputs, Tiling
from selfsam_d2.prediction.output_models import MODEL_NOTE
from selfsam_d2.prediction.run import plan, predict_images
from selfsam_d2.prediction.sources import find_sources

WIDTHS = {"a": 20, "b": 30, "c": 40}  # images are told apart by them


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images, the outputs of an earlier run beside their folder."""
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    for name, width in WIDTHS.items():
        Image.new("RGB", (width, 20), (90, 50, 140)).save(folder / f"{name}.png")
        for suffix in ("csv", "geojson"):
            (out / f"{name}.{suffix}").write_text("old")
    return folder


def run(
    images: Path,
    predictor: Any,
    formats: tuple[str, ...] = ("csv", "geojson"),
    only: str = "",
    **more: Any,
) -> list[str]:
    """Names of the images that were predicted, also where the run was stopped."""
    outputs = Outputs(images.parent / "out", formats, **more)
    try:
        predict_images(predictor, plan(find_sources([str(images / only)], 0.5), outputs), outputs)
    except KeyboardInterrupt:
        assert predictor.stop_at >= 0
    names = {width: name for name, width in WIDTHS.items()}
    return [names[shape[1]] for shape in predictor.seen]


def old(images: Path) -> list[str]:
    """Outputs of the earlier run that are still there."""
    files = sorted((images.parent / "out").glob("[a-z]*"))
    return [path.name for path in files if path.read_text() == "old"]


def note(images: Path) -> Path:
    return images.parent / "out" / NOTE


def test_without_overwrite_it_goes_on_with_what_is_left(
    images: Path, finder: Any, capfd: Any
) -> None:
    assert run(images, finder(0.5, stop_at=1), overwrite=True) == ["a"]
    assert "started again without --overwrite it goes on from there" in capfd.readouterr().err
    assert old(images) == ["b.csv", "b.geojson", "c.csv", "c.geojson"]
    assert run(images, finder(0.5, stop_at=1)) == ["b"]  # stopped once more
    assert run(images, finder(0.5)) == ["c"]
    assert old(images) == []
    assert not note(images).exists()
    assert run(images, finder(0.5)) == []


def test_the_other_two_are_done_in_one_run(images: Path, finder: Any) -> None:
    run(images, finder(0.5, stop_at=1), overwrite=True)
    assert run(images, finder(0.5)) == ["b", "c"]
    assert old(images) == []


def test_an_image_half_written_is_finished(
    images: Path, finder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after SIGKILL between two files of one image."""

    def write(name: str, *given: Any) -> Any:
        if name == "geojson":
            raise KeyboardInterrupt
        return write_output(name, *given)

    with monkeypatch.context() as patch:
        patch.setattr("selfsam_d2.prediction.sources.write_output", write)
        run(images, finder(0.5, stop_at=9), overwrite=True)
    assert "a.csv" not in old(images)
    assert "a.geojson" in old(images)
    assert run(images, finder(0.5)) == ["a", "b", "c"]
    assert old(images) == []


def test_other_formats_and_images_stay_as_asked(images: Path, finder: Any) -> None:
    """A note outlives runs that leave out some of what it names."""
    run(images, finder(0.5, stop_at=1), ("csv",), overwrite=True)
    assert run(images, finder(0.5), only="b.png") == ["b"]
    assert old(images) == ["a.geojson", "b.geojson", "c.csv", "c.geojson"]
    assert run(images, finder(0.5)) == ["c"]
    assert old(images) == ["a.geojson", "b.geojson", "c.geojson"]
    assert not note(images).exists()


def test_an_image_that_fails_keeps_its_place(images: Path, finder: Any) -> None:
    broken = images / "b.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:40])
    with pytest.raises(InputError, match="1 of 3 images failed"):
        run(images, finder(0.5), overwrite=True)
    assert old(images) == ["b.csv", "b.geojson"]
    broken.write_bytes(content)
    assert run(images, finder(0.5)) == ["b"]
    assert not note(images).exists()


def test_a_second_suffix_does_not_hide_an_old_file(tmp_path: Path, finder: Any) -> None:
    """Killed between the new label map and the removal of the one with the other suffix."""
    Image.new("RGB", (20, 20), (90, 50, 140)).save(tmp_path / "a.png")
    outputs = Outputs(tmp_path / "out", ("labels",))
    outputs.folder.mkdir()
    (outputs.folder / "a_labels.ome.tif").write_text("old")
    note_old_outputs(outputs.folder, ["a_labels.ome.tif"])
    (outputs.folder / "a_labels.png").write_text("new")
    (task,) = plan(find_sources([str(tmp_path / "a.png")]), outputs)
    assert task.formats == ("labels",)


def test_a_note_is_of_files_as_they_were(tmp_path: Path) -> None:
    names = ["a.csv", "b.csv", "c.csv", "none.csv"]
    for name in names[:3]:
        (tmp_path / name).write_text("old")
    note_old_outputs(tmp_path, names)
    assert old_outputs(tmp_path) == set(names[:3])
    (tmp_path / "a.csv").write_text("of another size")
    os.utime(tmp_path / "b.csv", ns=(0, 1))  # of the same size, at another time
    assert old_outputs(tmp_path) == {"c.csv"}
    note_old_outputs(tmp_path, ["a.csv"])
    assert old_outputs(tmp_path) == {"a.csv", "c.csv"}
    (tmp_path / "a.csv").unlink()
    (tmp_path / "c.csv").unlink()
    note_old_outputs(tmp_path)
    assert list(tmp_path.glob(".*")) == []
    note_old_outputs(tmp_path)  # there is none to remove


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 10**5, b"1"])
def test_a_damaged_note_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / NOTE).write_bytes(content)
    with pytest.raises(InputError, match=r"\.overwrite\.json: damaged; remove it, and .*--over"):
        old_outputs(tmp_path)


def test_a_slide_not_begun_does_not_go_on_with_the_tiles_of_before(
    tmp_path: Path, planted: Any, svs: Any, finder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Model 1 was stopped within slide b, model 2 behind slide a; model 2 does all of b."""
    (tmp_path / "in").mkdir()
    image = planted(150, 120, [(20, 20), (64, 64), (100, 90)])
    svs(tmp_path / "in" / "b.svs", image)

    def predict(model: str, stop_at: int = -1, overwrite: bool = False) -> int:
        predictor = finder(0.25, stop_at)
        predictor.fingerprint = model
        outputs = Outputs(tmp_path / "out", ("csv",), overwrite=overwrite, tiling=Tiling(64, 16))
        tasks = plan(find_sources([str(tmp_path / "in")]), outputs)
        with suppress(KeyboardInterrupt):
            predict_images(predictor, tasks, outputs)
        return len(predictor.seen)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    assert predict("1", stop_at=2) == 2
    svs(tmp_path / "in" / "a.svs", image)
    with monkeypatch.context() as patch:
        patch.setattr("selfsam_d2.prediction.slides.say", stop)  # the last that is done of a
        assert predict("2", overwrite=True) == 6
    assert predict("2", stop_at=1) == 1
    assert predict("2") == 5
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found == [MODEL_NOTE, "a.csv", "b.csv"]
