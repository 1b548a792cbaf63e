"""classhub_quota module: what the hub's package is told, and who has which uid."""

import json

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

QUOTA = {"roles": {"student": "1G"}, "users": {}, "files": 0, "over": 0.0}
LIMITS = {
    "ada": {"uid": 20001, "limits": [1 << 20, 1 << 20, 0, 0]},
    "new": {"uid": 20004, "limits": [1 << 20, 1 << 20, 0, 0]},
    "prof": {"uid": 20002, "limits": [0, 0, 0, 0]},
}


@pytest.fixture
def world():
    ledger = {"ada": 20001, "prof": 20002, "gone": 20000}
    return {
        "plan": {"ledger": ledger | {"new": 20004}, "faults": []},
        "ledger": ledger,
        "asked": [],
    }


@pytest.fixture
def module(world, monkeypatch):
    module = load("modules", "classhub_quota")

    def plan(drops):
        assert drops == len(world["ledger"]), "who left is no matter of the quotas'"
        return world["plan"]

    def call(verb, **options):
        world["asked"].append((verb, options))
        return {"table": {"ada": "done: a quota of 1.0 GiB"}, "summary": {}}

    salt = {
        "classhub_roster.plan": plan,
        "classhub_roster.ledger": lambda: world["ledger"],
        "classhub_course.call": call,
    }
    people = [{"username": name, "role": "student"} for name in ("ada", "new")]
    people.append({"username": "prof", "role": "instructor"})
    pillar = {"classhub": {"people": people, "storage": {"quota": QUOTA}}}
    utils = {
        "classhub_quota.limits": load("utils", "classhub_quota").limits,
        "classhub_settings.size": load("utils", "classhub_settings").size,
    }
    monkeypatch.setattr(module, "__salt__", salt, raising=False)
    monkeypatch.setattr(module, "__pillar__", pillar, raising=False)
    monkeypatch.setattr(module, "__utils__", utils, raising=False)
    return module


def test_who_comes_just_now_has_a_quota_too(module):
    assert module.limits() == LIMITS


@pytest.mark.parametrize("test", [False, True])
def test_all_are_set_at_once(module, world, test):
    assert module.apply(test=test)["table"] == {"ada": "done: a quota of 1.0 GiB"}
    ((verb, options),) = world["asked"]
    assert (verb, options["package"], json.loads(options["data"])) == (
        "quotas",
        "classhub.disk",
        LIMITS,
    )
    assert options["options"] == ["--test"] * test


def test_a_roster_with_faults_gives_nobody_a_quota(module, world):
    world["plan"]["faults"] = ["ada: one"]
    with pytest.raises(CommandExecutionError, match="Nobody has a quota:\n- ada: one"):
        module.apply()
    assert world["asked"] == []
