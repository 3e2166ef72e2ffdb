"""One process is a company of one; more are in tests/tools/test_predict.py."""

from __future__ import annotations

import pytest
import torch

from selfsam_d2.errors import InputError, OutputError
from selfsam_d2.prediction.processes import predict_in_processes
from selfsam_d2.prediction.run import Outputs
from selfsam_d2.prediction.together import gather, together


@pytest.mark.parametrize(
    ("raised", "expected", "line"),
    [
        (InputError("a.svs", "bad"), InputError, "^a.svs: bad$"),
        (OutputError("a.csv", "full"), OutputError, "^a.csv: full$"),
        (MemoryError(), InputError, "^a.svs: not enough memory; give a smaller --tile$"),
        (ZeroDivisionError("ours"), ZeroDivisionError, "^ours$"),
    ],
)
def test_an_error_keeps_its_kind(raised: Exception, expected: type, line: str) -> None:
    def action() -> None:
        raise raised

    with pytest.raises(expected, match=line) as error:
        together("a.svs", action)
    assert type(error.value) is expected


def test_a_result_comes_back() -> None:
    assert together("a.svs", lambda: None) is None
    assert together("a.svs", lambda: 3) == 3
    assert gather("a") == ["a"]


def test_more_processes_than_gpus_are_refused(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"^--num-gpus 2: this machine has 1$"):
        predict_in_processes(2, lambda device: None, None, [], Outputs(tmp_path, ()))  # type: ignore[arg-type, return-value]
