"""Who gets which limits, from pillar."""

import pytest

from tests.support.loading import load

quota = load("utils", "classhub_quota")
size = load("utils", "classhub_settings").size
PEOPLE = [
    {"username": "ada", "role": "student"},
    {"username": "bob", "role": "student"},
    {"username": "gina", "role": "grader"},
]
UIDS = {"ada": 20001, "bob": 20002, "gina": 20003, "gone": 20000}
NONE = {"roles": {}, "users": {}, "files": 0, "over": 0.1}


def limits(**given) -> dict[str, list[int]]:
    found = quota.limits(PEOPLE, UIDS, NONE | given, size)
    assert {name: one["uid"] for name, one in found.items()} == {
        name: UIDS[name] for name in ("ada", "bob", "gina")
    }
    return {name: one["limits"] for name, one in found.items() if any(one["limits"])}


def test_a_class_without_quotas():
    assert limits() == {}
    assert limits(files=1000) == {}
    assert limits(roles={"student": 0, "grader": "0"}) == {}


def test_of_a_role_and_of_one_person():
    given = limits(roles={"student": "1G"}, users={"bob": "2G", "gina": "1M"}, over=0.5)
    assert given == {
        "ada": [1 << 20, 3 << 19, 0, 0],
        "bob": [2 << 20, 3 << 20, 0, 0],
        "gina": [1024, 2048, 0, 0],
    }
    assert limits(roles={"student": "1G"}, users={"bob": 0}).keys() == {"ada"}


def test_files_are_those_of_who_has_a_quota():
    assert limits(roles={"grader": "1G"}, files=1000, over=0) == {
        "gina": [1 << 20, 1 << 20, 1000, 1000]
    }


@pytest.mark.parametrize(("given", "kib"), [(1025, 1024), ("16M", 16 << 10)])
def test_what_is_no_whole_mib_is_one_more(given, kib):
    assert limits(users={"ada": given}, over=0) == {"ada": [kib, kib, 0, 0]}


def test_who_has_a_quota_is_on_the_roster():
    assert quota.faults(NONE | {"users": {"ada": "1G"}}, PEOPLE) == []
    assert quota.faults(NONE | {"users": {"eve": "1G"}}, PEOPLE) == [
        "classhub:storage:quota:users: eve is not on the roster"
    ]
