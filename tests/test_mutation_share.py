"""The table of `make mutants`, from what mutmut prints."""

from collections import Counter

from tests.mutation_share import counts, share, table

LINES = [
    "",
    "    selfsam_d2.a.first.x_f__mutmut_1: killed",
    "    selfsam_d2.a.first.x_f__mutmut_2: survived",
    "    selfsam_d2.a.first.xǁThingǁ__init____mutmut_3: timeout",
    "    selfsam_d2.b.x_g__mutmut_10: no tests",
    "something else",
]


def test_outcomes_are_counted_by_module():
    found = counts(LINES)
    assert found == {
        "selfsam_d2.a.first": {"killed": 1, "survived": 1, "timeout": 1},
        "selfsam_d2.b": {"no tests": 1},
    }
    assert share(found["selfsam_d2.a.first"]) == 100 * 2 / 3
    assert share(found["selfsam_d2.b"]) == 0
    last = table(found).splitlines()[-1]
    assert [cell.strip() for cell in last.strip("|").split("|")] == [
        *("all", "4", "1", "1", "1", "1", "50.0")
    ]


def test_a_share_is_of_all_mutants():
    assert share(Counter(killed=85, survived=10, suspicious=5)) == 85
