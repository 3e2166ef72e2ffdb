"""What the page does when a file is dropped, a place clicked, a button pressed; no browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio
import numpy as np
import pytest
from PIL import Image

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.prediction.annotated_image import PROMPTED_CLASS
from selfsam_d2.prediction.predictor import NucleiPredictor
from selfsam_d2.prediction.web_page import _actions, build_page
from selfsam_d2.visualization.overlay import POINT_COLOR


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    pixels, _ = make_synthetic_image(np.random.default_rng(0), 96, 12)
    Image.fromarray(pixels).save(tmp_path / "in" / "a b.png")
    return tmp_path / "in" / "a b.png"


@pytest.fixture
def act(tiny_predictor: NucleiPredictor, tmp_path: Path) -> Any:
    (tmp_path / "out").mkdir()
    return _actions(gradio, tiny_predictor, tmp_path / "out")


def clicked(x: int, y: int) -> gradio.SelectData:
    return gradio.SelectData(None, {"index": [x, y], "value": None})


def classes(path: str) -> list[str]:
    features = json.loads(Path(path).read_text())["features"]
    return [each["properties"]["classification"]["name"] for each in features]


def test_open_click_clear_and_download(act: Any, image: Path) -> None:
    opened, drawing, status, file = act["open"](str(image))
    assert drawing.shape == (96, 96, 3)
    assert status == f"a b.png: {len(opened.found)} nuclei found"
    assert Path(file).name == "a b.geojson"
    assert classes(file) == ["Nucleus"] * len(opened.found)

    same, pointed, status, file = act["click"](opened, clicked(40, 70))
    assert same is opened
    assert opened.points.tolist() == [[40.5, 70.5]]
    assert pointed[70, 40].tolist() == list(POINT_COLOR)
    assert status.endswith(f"{len(opened.prompted)} outlined at 1 point")
    kept = int(status.split()[2])
    assert classes(file)[kept:] == [PROMPTED_CLASS] * len(opened.prompted)

    _, cleared, status, file = act["clear"](opened)
    np.testing.assert_array_equal(cleared, drawing)
    assert status.endswith("nuclei found")
    assert classes(file) == ["Nucleus"] * len(opened.found)


def test_images_of_one_name_have_files_of_their_own(act: Any, image: Path) -> None:
    first, second = (act["open"](str(image)) for _ in range(2))
    assert first[3] != second[3]
    assert Path(first[3]).is_file()
    assert Path(second[3]).is_file()


@pytest.mark.parametrize("do", ["open", "clear", "click"])
def test_without_an_image_nothing_is_shown(do: str, act: Any) -> None:
    more = (clicked(1, 1),) if do == "click" else ()
    nothing = (None, None, "No image yet.", None)
    assert act[do](None, *more) == nothing
    assert act["close"]() == nothing


def test_what_cannot_be_read_is_a_message_without_the_folder(act: Any, image: Path) -> None:
    image.write_bytes(image.read_bytes()[:500])
    with pytest.raises(gradio.Error, match="truncated") as error:
        act["open"](str(image))
    assert error.value.message.startswith("a b.png: ")
    assert str(image.parent) not in error.value.message


def test_a_model_without_points_says_so(
    act: Any, image: Path, tiny_predictor: NucleiPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = tiny_predictor.cfg.clone()
    cfg.MODEL.META_ARCHITECTURE = "NucleiSegmentor"
    monkeypatch.setattr(tiny_predictor, "cfg", cfg)
    opened = act["open"](str(image))[0]
    with pytest.raises(gradio.Error, match="NucleiSegmentor"):
        act["click"](opened, clicked(5, 5))


def test_the_page_calls_these(tiny_predictor: NucleiPredictor) -> None:
    """Gradio finds the click's place by the annotation."""
    page = build_page(tiny_predictor)
    called = [function.fn.__name__ for function in page.fns.values() if function.fn is not None]
    assert called[:4] == ["open_image", "<lambda>", "click", "clear"]
    (click,) = (each.fn for each in page.fns.values() if each.fn.__name__ == "click")
    assert click.__annotations__["event"] is gradio.SelectData
    assert Path(page.folder.name).is_dir()
