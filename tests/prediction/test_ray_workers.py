"""What a Ray worker does and says; a real cluster is in tests/tools/test_predict.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from selfsam_d2.errors import InputError
from selfsam_d2.prediction.ray_workers import _Worker, predict_on_ray
from selfsam_d2.prediction.run import Outputs, plan
from selfsam_d2.prediction.sources import find_sources


@pytest.fixture
def planned(tmp_path: Path) -> tuple[list[Any], Outputs]:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (20, 20), (90, 50, 140)).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"none")
    outputs = Outputs(tmp_path / "out", ("csv",))
    return plan(find_sources([str(tmp_path / "in")]), outputs), outputs


def test_a_worker_hands_on_what_it_says(planned: Any, finder: Any, capfd: Any) -> None:
    (whole, broken), outputs = planned
    built = []

    def build() -> Any:
        built.append(finder(0.25))
        return built[-1]

    worker = _Worker(build)
    answer = worker.process(whole, outputs)
    assert (answer.report.done, answer.report.nuclei, answer.error) == (1, 1, None)
    assert "a.png: 1 nuclei" in answer.stdout
    assert answer.stderr.startswith("images: µm/px of the image")
    answer = worker.process(broken, outputs)
    assert answer.report.failed == (str(broken.source.path),)
    assert "b.png: damaged or not an image" in answer.stderr
    assert len(built) == 1
    assert capfd.readouterr() == ("", "")


def test_what_is_wrong_for_all_images_ends_the_run(planned: Any, finder: Any) -> None:
    def build() -> Any:
        raise InputError("w.pth", "no such file")

    (whole, _), outputs = planned
    assert _Worker(build).process(whole, outputs).error == "w.pth: no such file"
    (outputs.folder / ".a.csv.part").mkdir()
    answer = _Worker(finder).process(whole, outputs)
    assert "a.csv: cannot be written" in (answer.error or "")


def test_ray_is_an_extra(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.util", None)
    with pytest.raises(InputError, match=r"^--ray: needs the extra `ray`: .*'\.\[ray\]'"):
        predict_on_ray("local", 1, lambda: None, *planned)  # type: ignore[arg-type, return-value]
