"""Outputs of one model are not kept for those of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from selfsam_d2.errors import InputError
from selfsam_d2.prediction.options import Outputs
from selfsam_d2.prediction.output_models import MODEL_NOTE, note_model, require_same_model
from selfsam_d2.prediction.run import plan, predict_images
from selfsam_d2.prediction.sources import find_sources

OTHER = r"of another model or of other settings.*--overwrite replaces.*another --output keeps"


@pytest.fixture
def predict(tmp_path: Path, finder: Any) -> Any:
    """Predict two images, or one of them, with a model of some name."""
    (tmp_path / "images").mkdir()
    for name in "ab":
        Image.new("RGB", (20, 20), (90, 50, 140)).save(tmp_path / "images" / f"{name}.png")

    def run(model: str, only: str = "", stop_at: int = -1, **more: Any) -> int:
        predictor = finder(0.5, stop_at)
        predictor.fingerprint = model
        outputs = Outputs(tmp_path / "out", more.pop("formats", ("csv",)), **more)
        tasks = plan(find_sources([str(tmp_path / "images" / only)], 0.5), outputs)
        predict_images(predictor, tasks, outputs)
        return len(predictor.seen)

    return run


def test_a_second_model_is_refused_until_it_may_overwrite(predict: Any, tmp_path: Path) -> None:
    assert predict("first") == 2
    before = (tmp_path / "out" / "a.csv").stat().st_mtime_ns
    with pytest.raises(InputError, match=rf"out: 2 files there, such as a\.csv, are {OTHER}"):
        predict("second")
    assert (tmp_path / "out" / "a.csv").stat().st_mtime_ns == before
    assert predict("first") == 0
    assert predict("second", overwrite=True) == 2
    assert predict("second") == 0
    with pytest.raises(InputError, match=OTHER):
        predict("first")


def test_other_images_and_formats_of_the_same_model_join(predict: Any) -> None:
    assert predict("first", "a.png") == 1
    assert predict("first") == 1
    assert predict("first", formats=("csv", "geojson")) == 2


def test_other_images_of_another_model_join_but_are_not_taken_for_the_first(predict: Any) -> None:
    assert predict("first", "a.png") == 1
    assert predict("second", "b.png") == 1
    for model, own, other in (("first", "a.png", "b.png"), ("second", "b.png", "a.png")):
        assert predict(model, own) == 0
        with pytest.raises(InputError, match=r"1 files there"):
            predict(model, other)
    assert predict("third", "a.png", overwrite=True) == 1
    assert predict("second", "b.png") == 0
    assert predict("third", "a.png") == 0


def test_outputs_of_before_there_was_a_note_are_kept(predict: Any, tmp_path: Path) -> None:
    predict("first")
    (tmp_path / "out" / MODEL_NOTE).unlink()
    assert predict("second") == 0


def test_a_model_that_was_stopped_while_overwriting_goes_on(predict: Any) -> None:
    predict("first")
    with pytest.raises(KeyboardInterrupt):
        predict("second", stop_at=1, overwrite=True)
    assert predict("second") == 1
    assert predict("second") == 0


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"model": 1}', '{"model": "a"}', '{"model": "a", "earlier": {"b": [1]}}'],
)
def test_a_damaged_note_is_one_line(content: str, predict: Any, tmp_path: Path) -> None:
    predict("first")
    (tmp_path / "out" / MODEL_NOTE).write_text(content)
    with pytest.raises(InputError, match=r"\.model\.json: damaged; remove it, and .*--overwrite"):
        predict("first")


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sets(st.sampled_from("abcd"))), max_size=8))
def test_each_file_belongs_to_who_wrote_it_last(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[str, set[str]]]
) -> None:
    """Against a dictionary that is kept beside."""
    folder = tmp_path_factory.mktemp("out")
    owner: dict[str, str] = {}
    for number, (model, names) in enumerate(runs):
        note_model(folder, model)
        for name in names:
            (folder / name).write_text("x" * number)
            owner[name] = model
    for model in "xyz" if runs else "":
        for name, writer in owner.items():
            if writer == model:
                require_same_model(folder, model, [name])
            else:
                with pytest.raises(InputError):
                    require_same_model(folder, model, [name])
