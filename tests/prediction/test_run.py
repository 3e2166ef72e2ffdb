"""The loop over images: what is skipped, what goes on, what stays after a stop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from selfsam_d2.engine.stop_hook import PASSED_ON, STOPPED
from selfsam_d2.errors import InputError, run_command
from selfsam_d2.outputs.prediction import NucleiPrediction
from selfsam_d2.prediction.output_models import MODEL_NOTE
from selfsam_d2.prediction.run import Outputs, plan, predict_images
from selfsam_d2.prediction.sources import find_sources

FORMATS = ("geojson", "csv", "overlay")


class Fake:
    """Finds what is dark; does something of the test's at a call."""

    fingerprint = "fake"
    microns_per_pixel: float | None = 0.5

    def __init__(self, **at: Any) -> None:
        self.names: list[str] = []
        self.at = at

    def __call__(self, image: Any, *, name: str, microns_per_pixel: float | None) -> Any:
        self.names.append(name)
        self.at.get(Path(name).stem, lambda: None)()
        map_, count = ndimage.label(image[..., 0] < 100)
        return NucleiPrediction(
            image=image,
            instance_map=map_.astype(np.int32),
            scores=np.full(count, 0.5, dtype=np.float32),
            foreground=(map_ > 0).astype(np.float32),
            name=name,
            microns_per_pixel=microns_per_pixel,
        )


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "abc":
        pixels = np.full((16, 16, 3), 200, dtype=np.uint8)
        pixels[2:6, 2:6] = pixels[9:12, 9:13] = 50
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[Any]:
    """A signal that the loop leaves to others fails the test, and does not end all of them."""

    def handler(*_: Any) -> None:
        raise RuntimeError("SIGTERM is not handled")

    before = signal.signal(signal.SIGTERM, handler)
    yield handler
    signal.signal(signal.SIGTERM, before)


def run(images: Path, fake: Fake, formats: tuple[str, ...] = FORMATS, **more: Any) -> None:
    outputs = Outputs(images.parent / "out", formats, **more)
    predict_images(fake, plan(find_sources([str(images)], 0.5), outputs), outputs)


def names(images: Path) -> list[str]:
    found = {path.name for path in (images.parent / "out").iterdir()}
    assert MODEL_NOTE in found
    return sorted(found - {MODEL_NOTE})


def expected(stems: str) -> list[str]:
    return sorted(
        f"{stem}{suffix}" for stem in stems for suffix in (".csv", ".geojson", "_overlay.png")
    )


def test_each_image_has_its_files_and_its_line(images: Path, capfd: Any) -> None:
    run(images, Fake())
    assert names(images) == expected("abc")
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == [
        str(images / f"{name}.png") for name in "abc"
    ]
    assert all(": 2 nuclei, " in line and line.endswith(" s") for line in lines[:3])
    assert len(lines) == 4
    assert lines[3].startswith("3 images predicted, 6 nuclei")
    assert err == ""


def test_one_image_is_one_image(images: Path, capfd: Any) -> None:
    for name in "bc":
        (images / f"{name}.png").unlink()
    run(images, Fake())
    run(images, Fake())
    lines = capfd.readouterr().out.splitlines()
    assert lines[-2].startswith("1 image predicted, 2 nuclei in ")
    assert lines[-1].startswith("0 images predicted, 0 nuclei in ")
    assert lines[-1].endswith("; 1 image skipped, all files are there (--overwrite)")


def test_an_unknown_resolution_is_said_once(images: Path, capfd: Any) -> None:
    fake = Fake()
    fake.microns_per_pixel = None
    run(images, fake)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("images: µm/px of the training images not known")
    run(images, fake)  # nothing is predicted
    assert capfd.readouterr().err == ""


def test_images_whose_file_states_a_resolution_are_not_among_the_unknown(
    images: Path, capfd: Any
) -> None:
    pixels = np.full((40, 60, 3), 200, dtype=np.uint8)
    tifffile.imwrite(
        images / "d.tif", pixels, photometric="rgb", resolution=(40_000, 40_000), resolutionunit=3
    )
    fake = Fake()
    fake.microns_per_pixel = 0.25
    outputs = Outputs(images.parent / "out", FORMATS)
    predict_images(fake, plan(find_sources([str(images)]), outputs), outputs)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("3 of 4 images: µm/px not known")


def test_what_is_there_is_skipped_and_counted(images: Path, capfd: Any) -> None:
    run(images, Fake())
    overlay, csv_ = images.parent / "out" / "b_overlay.png", images.parent / "out" / "b.csv"
    overlay.unlink()
    csv_.write_text("mine")
    capfd.readouterr()
    again = Fake()
    run(images, again)
    assert again.names == ["b.png"]
    assert overlay.is_file()
    assert csv_.read_text() == "mine"
    out, _ = capfd.readouterr()
    assert "kept: b.geojson, b.csv" in out
    assert "2 images skipped" in out
    run(images, again, overwrite=True)
    assert again.names == ["b.png", "a.png", "b.png", "c.png"]
    assert csv_.read_text() != "mine"


def test_a_broken_file_is_one_line_and_the_rest_goes_on(images: Path, capfd: Any) -> None:
    (images / "a.png").write_bytes((images / "b.png").read_bytes()[:60])
    (images / "d.png").write_text("no image")
    with pytest.raises(InputError, match=r"^2 of 4 images failed: .*a\.png, .*d\.png$"):
        run(images, Fake())
    assert names(images) == expected("bc")
    _, err = capfd.readouterr()
    assert [line.split(":")[0] for line in err.splitlines()] == [
        str(images / "a.png"),
        str(images / "d.png"),
    ]


def test_an_image_too_large_for_the_memory_is_one_line(images: Path, capfd: Any) -> None:
    def no_memory() -> None:
        raise MemoryError

    with pytest.raises(InputError, match="1 of 3 images failed"):
        run(images, Fake(b=no_memory))
    assert names(images) == expected("ac")
    assert "b.png: not enough memory" in capfd.readouterr().err


def test_a_fault_of_ours_is_not_taken_for_a_broken_file(images: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run(images, Fake(b=lambda: 1 // 0))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)]
)
def test_what_is_finished_stays_after_a_stop(
    images: Path, number: int, status: int, capfd: Any, sigterm: Any
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: run(images, Fake(b=lambda: os.kill(os.getpid(), number))))
    assert stop.value.code == status
    assert names(images) == expected("a")
    assert "stopped after 1 of 3 images; started again it goes on" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is sigterm
    again = Fake()
    run(images, again)
    assert again.names == ["b.png", "c.png"]


def test_a_stop_that_comes_twice_is_one(
    images: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(text: str, stream: Any) -> None:
        if text.startswith("stopped"):
            os.kill(os.getpid(), signal.SIGTERM)
        stream.write(f"{text}\n")

    monkeypatch.setattr("selfsam_d2.prediction.run.say", say)
    with pytest.raises(SystemExit) as stopped:
        run(images, Fake(b=lambda: os.kill(os.getpid(), PASSED_ON)))
    assert stopped.value.code == STOPPED
    assert capfd.readouterr().err.count("stopped after 1 of 3 images") == 1
    assert signal.getsignal(PASSED_ON) is signal.SIG_DFL


def test_a_stop_within_a_write_leaves_no_half_file(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        monkeypatch.setattr("os.replace", lambda *_: os.kill(os.getpid(), signal.SIGTERM))

    with pytest.raises(SystemExit):
        run(images, Fake(a=stop))
    assert names(images) == []


def test_a_folder_that_cannot_be_written_stops_before_the_first_image(images: Path) -> None:
    (images.parent / "out").write_text("a file")
    fake = Fake()
    with pytest.raises(InputError, match=r"out: cannot be written"):
        run(images, fake)
    assert fake.names == []


def test_a_disk_that_is_full_ends_the_run(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    fake = Fake(a=lambda: monkeypatch.setattr("os.replace", full))
    with pytest.raises(InputError, match=r"a\.geojson: cannot be written \(No space"):
        run(images, fake)
    assert fake.names == ["a.png"]


def test_pictures_do_not_go_among_the_images(images: Path) -> None:
    sources = find_sources([str(images / "a.png")])
    for formats in (("csv", "labels"), ("overlay",)):
        with pytest.raises(InputError, match=r"images: .*another --output"):
            plan(sources, Outputs(images.parent / "images" / ".." / "images", formats))
    assert len(plan(sources, Outputs(images, ("geojson", "csv", "coco")))) == 1


def test_formats_are_known_and_installed(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match="pyarrow"):
        plan(find_sources([str(images)]), Outputs(images.parent / "out", ("parquet",)))
    with pytest.raises(InputError, match=r"svg.*geojson"):
        plan(find_sources([str(images)]), Outputs(images.parent / "out", ("svg",)))
