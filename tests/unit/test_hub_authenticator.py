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


@pytest.fixture
def authenticator(monkeypatch):
    def account(name):
        return pwd.struct_passwd((name, "x", *ACCOUNTS[name], "", "/", ""))

    def group(name):
        gid, members = GROUPS[name]
        return grp.struct_group((name, "x", gid, members))

    monkeypatch.setattr(pwd, "getpwnam", account)
    monkeypatch.setattr(grp, "getgrnam", group)
    return LabAuthenticator(password="example", groups=["students", "graders", "not-made-yet"])


@pytest.mark.parametrize(
    ("username", "password", "result"),
    [
        ("alice", "example", {"name": "alice", "groups": ["students"]}),
        (" Alice ", "example", {"name": "alice", "groups": ["students"]}),
        ("carol", "example", {"name": "carol", "groups": ["students"]}),
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
    assert asyncio.run(authenticator.authenticate(None, data)) == result


def test_sign_in_goes_through_jupyterhub(authenticator):
    data = {"username": "Alice", "password": "example"}
    model = asyncio.run(authenticator.get_authenticated_user(None, data))
    assert (model["name"], model["groups"]) == ("alice", ["students"])
    assert not model["admin"]


@pytest.mark.parametrize("name", ["eve", "nobody"])
def test_session_ends_with_the_place_on_the_roster(authenticator, name):
    assert asyncio.run(authenticator.refresh_user(SimpleNamespace(name=name))) is False


def test_groups_of_a_session_follow_the_roster(authenticator, monkeypatch):
    alice = SimpleNamespace(name="alice")
    assert asyncio.run(authenticator.refresh_user(alice))["groups"] == ["students"]
    monkeypatch.setitem(GROUPS, "graders", (501, ["alice"]))
    assert asyncio.run(authenticator.refresh_user(alice))["groups"] == ["students", "graders"]


def test_refused_with_a_real_certificate():
    with pytest.raises(ValueError, match="real certificate"):
        LabAuthenticator(password="example", public_certificate=True)


def test_refused_without_a_password():
    with pytest.raises(ValueError, match="lab_password"):
        LabAuthenticator()
