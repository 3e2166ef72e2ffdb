"""How a command reports an error: one line on stderr, exit status 2, no traceback."""

import pytest
from torch.utils.data import DataLoader, Dataset

from selfsam_d2.errors import (
    MOST_WORDS,
    InputError,
    SelfSAMError,
    first_words,
    run_command,
    shortened,
)


class Broken(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise InputError("slide.png", "truncated\nor damaged; copy it again")


def read_in_worker():
    next(iter(DataLoader(Broken(), num_workers=1)))


def read_here():
    Broken()[0]


@pytest.mark.parametrize("main", [read_here, read_in_worker])
def test_an_error_of_ours_is_one_line(main, capsys):
    with pytest.raises(SystemExit) as stop:
        run_command(main)
    assert stop.value.code == 2
    expected = "error: slide.png: truncated or damaged; copy it again\n"
    assert capsys.readouterr().err == expected


def test_other_errors_are_not_hidden():
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(fail)


def test_ctrl_c_has_a_status_of_its_own(capsys):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        run_command(stop)
    assert stopped.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_every_error_of_ours_has_one_base():
    assert issubclass(InputError, SelfSAMError)
    assert str(InputError("a.png", "is odd")) == "a.png: is odd"


def test_what_a_message_quotes_is_cut():
    assert shortened({"a": 1}) == "{'a': 1}"
    assert shortened("x" * MOST_WORDS) == "x" * MOST_WORDS
    assert shortened("x" * (MOST_WORDS + 1)) == f"{'x' * MOST_WORDS} ..."
    assert shortened("abcd", 3) == "abc ..."
    assert first_words(ValueError(f"a{'b' * MOST_WORDS}\nc")) == f"a{'b' * (MOST_WORDS - 1)} ..."
    assert first_words(ValueError()) == "ValueError"
