"""Who may sign in with the lab's password."""

import asyncio
import grp
import pwd
from types import SimpleNamespace

import pytest

import tests.support.hub  # noqa: F401  isort: skip

from classhub.authenticator import LabAuthenticator

ACCOUNTS = {"alice": (20001, 20001), "carol": (20002, 500), "eve": (20003, 20003), "www": (33, 33)}
GROUPS = {"students": (500, ["alice", "www"]), "graders": (501, [])}
ROLES = {"student": "students", "grader": "graders", "instructor": "not-made-yet"}
STUDENT = {"uid": 20001, "role": "student"}


def session(name: str, **auth_state) -> SimpleNamespace:
    """A user of JupyterHub who has signed in."""

    async def known() -> dict | None:
        return auth_state or None

    return SimpleNamespace(name=name, get_auth_state=known)


@pytest.fixture
def authenticator(monkeypatch):
    def account(name):
        return pwd.struct_passwd((name, "x", *ACCOUNTS[name], "", "/", ""))

    def group(name):
        gid, members = GROUPS[name]
        return grp.struct_group((name, "x", gid, members))

    monkeypatch.setattr(pwd, "getpwnam", account)
    monkeypatch.setattr(grp, "getgrnam", group)
    return LabAuthenticator(password="example", groups=ROLES)


@pytest.mark.parametrize(
    ("username", "password", "result"),
    [
        ("alice", "example", ("alice", 20001)),
        (" Alice ", "example", ("alice", 20001)),
        ("carol", "example", None),  # her primary group alone is the students'
        ("alice", "Example", None),
        ("alice", "", None),
        ("alice", "exämple", None),
        ("eve", "example", None),
        ("www", "example", None),
        ("nobody", "example", None),
        ("", "example", None),
    ],
)
def test_sign_in(authenticator, username, password, result):
    data = {"username": username, "password": password}
    model = asyncio.run(authenticator.authenticate(None, data))
    assert (model and (model["name"], model["auth_state"]["uid"])) == result
    assert not model or model["groups"] == ["students"]


def test_sign_in_goes_through_jupyterhub(authenticator):
    data = {"username": "Alice", "password": "example"}
    model = asyncio.run(authenticator.get_authenticated_user(None, data))
    assert (model["name"], model["groups"]) == ("alice", ["students"])
    assert model["auth_state"] == STUDENT
    assert not model["admin"]


@pytest.mark.parametrize("name", ["eve", "nobody"])
def test_session_ends_with_the_place_on_the_roster(authenticator, name):
    assert asyncio.run(authenticator.refresh_user(session(name))) is False


def test_groups_of_a_session_follow_the_roster(authenticator, monkeypatch):
    alice = session("alice", **STUDENT)
    assert asyncio.run(authenticator.refresh_user(alice))["groups"] == ["students"]
    monkeypatch.setitem(GROUPS, "students", (500, []))
    monkeypatch.setitem(GROUPS, "graders", (501, ["alice"]))
    refreshed = asyncio.run(authenticator.refresh_user(alice))
    assert refreshed["groups"] == ["graders"]
    assert refreshed["auth_state"] == {"uid": 20001, "role": "grader"}


def test_uid_of_a_session_stays_that_of_the_sign_in(authenticator):
    """The spawner compares it with the account's."""
    alice = session("alice", uid=20999, role="student")
    assert asyncio.run(authenticator.refresh_user(alice))["auth_state"]["uid"] == 20999


def test_a_session_from_before_has_no_uid_yet(authenticator):
    assert asyncio.run(authenticator.refresh_user(session("alice")))["auth_state"] == STUDENT


def test_refused_with_a_real_certificate():
    with pytest.raises(ValueError, match="real certificate"):
        LabAuthenticator(password="example", public_certificate=True)


def test_refused_without_a_password():
    with pytest.raises(ValueError, match="lab_password"):
        LabAuthenticator()
