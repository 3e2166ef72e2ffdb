"""What a Ray worker does and says; a real cluster is in tests/tools/test_predict.py."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import time
from collections.abc import Iterator
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
    assert answer.stderr.startswith("images: µm/px not known, so nothing is resized;")
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


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine on which nothing listens and nobody else can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize("prefix", ["", "ray://"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "no-host.invalid"])
def test_an_address_where_nobody_listens_is_one_line_at_once(
    host: str, prefix: str, planned: Any, closed_port: int, capfd: Any
) -> None:
    """Ray itself writes twenty lines to file descriptor 2, and takes two minutes."""
    address = f"{prefix}{host}:{closed_port}"
    begun = time.monotonic()
    with pytest.raises(InputError) as error:
        predict_on_ray(address, 1, lambda: None, *planned)  # type: ignore[arg-type, return-value]
    line = str(error.value)
    assert line.startswith(f"--ray {address}: nothing answers there (")
    assert "\n" not in line
    assert "ray status" in line
    assert capfd.readouterr() == ("", "")
    assert time.monotonic() - begun < 30  # Ray is imported, too


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:x", "127.0.0.1:99999"])
def test_what_is_no_address_is_one_line(address: str, planned: Any, capfd: Any) -> None:
    with pytest.raises(InputError, match=f"^--ray {address}: ") as error:
        predict_on_ray(address, 1, lambda: None, *planned)  # type: ignore[arg-type, return-value]
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_what_ray_says_while_it_fails_is_not_heard(
    planned: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def init(**_: Any) -> None:
        os.write(2, b"gcs_client.cc:210: Failed\n" * 20)
        raise ConnectionError("no Ray\nat all")

    ray = importlib.import_module("ray")
    monkeypatch.setattr(ray, "init", init)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(InputError, match=f"^--ray {address}: no cluster there .no Ray.;"):
            predict_on_ray(address, 1, lambda: None, *planned)  # type: ignore[arg-type, return-value]
    assert capfd.readouterr() == ("", "")


def test_ray_is_an_extra(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.util", None)
    with pytest.raises(InputError, match=r"^--ray: needs the extra `ray`: .*'\.\[ray\]'"):
        predict_on_ray("local", 1, lambda: None, *planned)  # type: ignore[arg-type, return-value]
