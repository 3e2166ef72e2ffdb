"""File descriptor 2 is muted as long as somebody wants it to be, and then what it was."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from selfsam_d2.structures.image_files import quiet_decoders
from selfsam_d2.structures.muted_stderr import muted_stderr

WAYS = pytest.mark.parametrize("muted", [muted_stderr, quiet_decoders])


def say(text: str) -> None:
    os.write(2, text.encode())


@WAYS
def test_what_is_written_meanwhile_does_not_appear(muted: Callable[[], Any], capfd: Any) -> None:
    say("before ")
    with muted():
        say("meanwhile ")
        with muted():
            say("inside ")
        say("still ")
    say("after")
    assert capfd.readouterr().err == "before after"


@WAYS
def test_threads_that_overlap_leave_it_as_it_was(muted: Callable[[], Any], capfd: Any) -> None:
    """The one that began first ends first, as no nesting in one thread does."""
    first_ends, second_ends = threading.Event(), threading.Event()
    begun = threading.Barrier(3, timeout=30)
    first_in = threading.Event()

    def first() -> None:
        with muted():
            first_in.set()
            begun.wait()
            first_ends.wait()

    def second() -> None:
        first_in.wait()
        with muted():
            begun.wait()
            second_ends.wait()

    filters = list(warnings.filters)
    disabled = logging.getLogger("tifffile").disabled
    threads = [threading.Thread(target=target, daemon=True) for target in (first, second)]
    for thread in threads:
        thread.start()
    begun.wait()
    first_ends.set()
    threads[0].join(30)
    say("one is left ")
    second_ends.set()
    threads[1].join(30)
    say("none is left")
    assert capfd.readouterr().err == "none is left"
    assert warnings.filters == filters
    assert logging.getLogger("tifffile").disabled == disabled


@WAYS
def test_many_threads_leave_no_descriptor_open(muted: Callable[[], Any], capfd: Any) -> None:
    def work() -> None:
        for _ in range(100):
            with muted():
                say("x")

    before = len(os.listdir("/dev/fd"))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("heard")
    assert capfd.readouterr().err == "heard"
    assert len(os.listdir("/dev/fd")) == before


@WAYS
def test_an_error_ends_it(muted: Callable[[], Any], capfd: Any) -> None:
    with pytest.raises(KeyError), muted():
        raise KeyError
    say("heard")
    assert capfd.readouterr().err == "heard"


def test_a_closed_descriptor_is_left_closed() -> None:
    kept = os.dup(2)
    os.close(2)
    try:
        with muted_stderr():
            pass
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(2)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
