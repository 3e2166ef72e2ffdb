"""Every symbol of the diagrams and of the tables of labels is explained."""

from __future__ import annotations

import re

import pytest

from selfsam_d2.engine.report_labels import LABEL_COLUMNS
from selfsam_d2.visualization.curves import LABELS, LOSSES
from selfsam_d2.visualization.symbols import MEANINGS, explain

SYMBOL = re.compile(r"[LS]_[A-Z]|\balpha\b|\bHV\b|\bignored\b|\brecovered\b")
TEXTS = [
    *(LOSSES | LABELS).items(),
    *((name, heading) for name, (heading, _) in LABEL_COLUMNS.items()),
]


@pytest.mark.parametrize(("scalar", "text"), TEXTS)
def test_what_a_curve_or_column_names_is_explained(scalar, text):
    named = set(SYMBOL.findall(text.replace("$", "")))
    explained = dict(explain([scalar]))
    assert named <= explained.keys()
    # And what the explanations name in their turn.
    for meaning in explained.values():
        assert set(SYMBOL.findall(meaning)) - {"ignored"} <= explained.keys() | {"L_B", "L_D"}


def test_all_symbols_of_the_method_are_there_in_a_fixed_order():
    everything = explain([*LOSSES, *LABELS])
    assert [symbol for symbol, _ in everything] == list(MEANINGS)
    assert {"S_P", "S_I", "alpha", "L_P", "L_B", "L_D", "L_C", "HV"} <= MEANINGS.keys()
    assert explain([*LABELS, *LOSSES]) == everything
    assert all(meaning.isascii() and len(meaning) < 160 for meaning in MEANINGS.values())


def test_what_has_no_symbol_has_no_explanation():
    assert explain(["total_loss", "loss_cls", "nuclei/AJI"]) == []
    assert [symbol for symbol, _ in explain(["loss_foreground"])] == ["L_B"]
