"""Rights by role, and the tokens that staff are known by."""

import json

import pytest

from tests.support.loading import load

staff = load("utils", "classhub_staff")
OPERATORS = {
    "audit", "backup", "deploy", "drill", "import_activity", "keep_calendar", "keep_schedule", "recover",
    "revoke_staff_token", "snapshots", "staff_token", "staff_tokens", "upgrade_engines",
}  # fmt: skip


@pytest.fixture
def file(tmp_path):
    return tmp_path / "api/staff.json"


def test_rights_are_those_of_the_role():
    assert staff.may("grader", "collect")
    assert not staff.may("grader", "release")
    assert staff.may("instructor", "collect")
    assert staff.may("instructor", "release")
    for role in ("student", "", "operator"):
        assert not staff.may(role, "status")


def test_each_verb_of_the_runner_has_its_people():
    """A verb that is added to the runner is the operator's, until somebody has thought about it."""
    runner = load("runners", "classhub")
    verbs = {
        name for name, f in vars(runner).items() if name[0] != "_" and hasattr(f, "__wrapped__")
    }
    assert verbs - staff.VERBS["instructor"] == OPERATORS & verbs
    assert staff.VERBS["instructor"] <= verbs
    assert staff.VERBS["grader"] < staff.VERBS["instructor"]


def test_the_roster_is_the_hubs_of_this_moment():
    people = [{"username": "gina", "role": "grader"}, {"username": "ada", "role": "student"}]
    pillars = {
        "master": {"classhub": {"hub_host": {"id": "hub"}}},
        "hub": {"classhub": {"people": people}},
    }
    show = lambda minion, id: pillars[minion]  # noqa: E731, A002
    assert staff.roles(show, "master") == {"gina": "grader", "ada": "student"}
    pillars["master"]["classhub"]["hub_host"] = {}
    assert staff.roles(show, "master") == {}


def test_a_token_is_of_one_person(file):
    tokens = {user: staff.new_token(file, user) for user in ("gina", "prof")}
    assert staff.is_right(file, "gina", tokens["gina"])
    for user, token in (("gina", tokens["prof"]), ("gina", ""), ("nobody", tokens["gina"])):
        assert not staff.is_right(file, user, token)
    assert list(staff.holders(file)) == ["gina", "prof"]


def test_the_newest_token_counts_until_it_is_revoked(file):
    first, second = staff.new_token(file, "gina"), staff.new_token(file, "gina")
    assert not staff.is_right(file, "gina", first)
    assert staff.is_right(file, "gina", second)
    assert staff.revoke(file, "gina")
    assert not staff.is_right(file, "gina", second)
    assert not staff.revoke(file, "gina")


def test_tokens_are_kept_as_salted_hashes_for_root_alone(file):
    token = staff.new_token(file, "gina")
    assert token not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    kept = json.loads(file.read_text())["gina"]
    staff.new_token(file, "gina")
    assert json.loads(file.read_text())["gina"]["salt"] != kept["salt"]


def test_no_username_is_the_name_of_the_tokens_file():
    usernames = load("utils", "classhub_roster")._USERNAME
    assert not usernames.fullmatch(staff.tokens_file({"root_dir": "/"}).stem)


def test_an_unknown_person_costs_as_much_as_a_known_one(file, monkeypatch):
    staff.new_token(file, "gina")
    asked = []
    real = staff.hashlib.scrypt
    monkeypatch.setattr(
        staff.hashlib,
        "scrypt",
        lambda *args, **kwargs: (asked.append(kwargs["n"]), real(*args, **kwargs))[1],
    )
    for user in ("gina", "nobody"):
        assert not staff.is_right(file, user, "x")
    assert asked == [2**14, 2**14]


def test_a_planted_link_is_not_written_through(tmp_path):
    victim, target = tmp_path / "victim", tmp_path / "gina.json"
    victim.write_text("mine")
    (tmp_path / ".gina.json.new").symlink_to(victim)
    target.symlink_to(victim)
    staff.write_private(target, "secret")
    assert (victim.read_text(), target.read_text()) == ("mine", "secret")
