"""Secrets made on the host: kept when they are there, never shown."""

import grp
import os
import pwd
import stat

import pytest

from tests.support.loading import load

salt_exceptions = pytest.importorskip("salt.exceptions")
KEYS = ["ONE", "TWO"]


@pytest.fixture
def state(monkeypatch):
    module = load("states", "classhub_secrets")
    file = load("utils", "classhub_file")
    functions = {"classhub_file.owner": file.owner, "classhub_file.write": file.write}
    monkeypatch.setattr(module, "__utils__", functions, raising=False)
    monkeypatch.setattr(module, "__opts__", {"test": False}, raising=False)
    return module


@pytest.fixture
def owner():
    user = pwd.getpwuid(os.getuid()).pw_name
    return {"user": user, "group": grp.getgrgid(os.getgid()).gr_name}


def values(path) -> dict:
    return dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines())


def test_missing_keys_are_generated_and_not_shown(state, owner, tmp_path):
    path = tmp_path / "secrets.env"
    ret = state.generated(str(path), KEYS, **owner)
    assert ret["result"] is True
    assert ret["changes"] == {"ONE": "generated", "TWO": "generated"}
    assert all(len(value) == 64 and int(value, 16) for value in values(path).values())
    assert not [value for value in values(path).values() if value in str(ret)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secrets.env"]


def test_second_run_changes_nothing(state, owner, tmp_path):
    path = tmp_path / "secrets.env"
    state.generated(str(path), KEYS, **owner)
    before = path.read_bytes()
    assert state.generated(str(path), KEYS, **owner)["changes"] == {}
    assert path.read_bytes() == before


def test_what_is_there_is_kept(state, owner, tmp_path):
    path = tmp_path / "secrets.env"
    path.write_text("ONE=kept\nOTHER=too\n", encoding="utf-8")
    path.chmod(0o600)
    assert state.generated(str(path), KEYS, **owner)["changes"] == {"TWO": "generated"}
    assert values(path)["ONE"] == "kept"
    assert values(path)["OTHER"] == "too"


@pytest.mark.parametrize("there", [False, True])
def test_test_mode_writes_nothing(state, owner, tmp_path, monkeypatch, there):
    monkeypatch.setattr(state, "__opts__", {"test": True})
    path = tmp_path / "nowhere" / "secrets.env"
    if there:
        path.parent.mkdir()
        path.write_text("ONE=1\n", encoding="utf-8")
    ret = state.generated(str(path), KEYS, **owner)
    assert ret["result"] is None
    assert ret["changes"]["TWO"] == "generated"
    assert path.exists() is there
    copied = state.copied(str(tmp_path / "token"), str(path), "TWO", **owner)
    assert copied["result"] is None
    assert not (tmp_path / "token").exists()


def test_a_mode_that_others_can_read_is_put_right(state, owner, tmp_path):
    path = tmp_path / "secrets.env"
    state.generated(str(path), KEYS, **owner)
    path.chmod(0o644)
    assert list(state.generated(str(path), KEYS, **owner)["changes"]) == ["owner"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_unknown_group_leaves_nothing(state, owner, tmp_path):
    ret = state.generated(str(tmp_path / "s"), KEYS, **owner | {"group": "no-such-group"})
    assert ret["result"] is False
    assert "no-such-group" in ret["comment"]
    assert list(tmp_path.iterdir()) == []


def test_bad_key(state, tmp_path):
    with pytest.raises(salt_exceptions.SaltInvocationError, match="A B"):
        state.generated(str(tmp_path / "s"), ["A B"])


def test_copied(state, owner, tmp_path):
    source, path = tmp_path / "secrets.env", tmp_path / "header"
    source.write_text("ONE=value\n", encoding="utf-8")
    arguments = (str(path), str(source), "ONE", "Authorization: token ")
    ret = state.copied(*arguments, **owner)
    assert ret["changes"] == {"ONE": "copied"}
    assert "value" not in str(ret)
    assert path.read_text(encoding="utf-8") == "Authorization: token value\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert state.copied(*arguments, **owner)["changes"] == {}


def test_copied_follows_the_source(state, owner, tmp_path):
    source, path = tmp_path / "secrets.env", tmp_path / "token"
    for value in ("old", "new"):
        source.write_text(f"ONE={value}\n", encoding="utf-8")
        state.copied(str(path), str(source), "ONE", **owner)
    assert path.read_text(encoding="utf-8") == "new\n"


def test_copied_without_a_source(state, owner, tmp_path):
    ret = state.copied(str(tmp_path / "token"), str(tmp_path / "none"), "ONE", **owner)
    assert ret["result"] is False
    assert list(tmp_path.iterdir()) == []
