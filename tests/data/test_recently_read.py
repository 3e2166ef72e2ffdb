"""What is kept of what was read."""

import pickle

from selfsam_d2.data.recently_read import RecentlyRead


def test_keeps_what_was_used_last_within_its_bytes():
    read = []

    def reading(name):
        read.append(name)
        return b"." * 300

    kept = RecentlyRead(reading, len, capacity=650)
    for name in ("a", "b", "a", "c", "a", "b"):
        assert len(kept(name)) == 300
    assert read == ["a", "b", "c", "b"]


def test_what_is_larger_than_all_is_not_kept():
    read = []
    kept = RecentlyRead(lambda name: read.append(name) or b"." * 300, len, capacity=100)
    assert kept("a") == kept("a")
    assert read == ["a", "a"]


def test_what_is_larger_than_all_drives_nothing_out():
    read = []
    kept = RecentlyRead(lambda name: read.append(name) or b"." * len(name), len, capacity=4)
    for name in ("aaa", "long name", "aaa"):
        kept(name)
    assert read == ["aaa", "long name"]


def test_goes_to_another_process():
    kept = pickle.loads(pickle.dumps(RecentlyRead(str.encode, len, capacity=100)))
    assert kept("a") == b"a"
