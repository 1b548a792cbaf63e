"""The record: on the disk before `append` returns, whole lines alone, and nothing of it where there is no room."""

import errno
import json
import os

import pytest

from tests.support.loading import load

audit = load("utils", "classhub_audit")
ENTRY = {"who": "gina", "verb": "collect", "outcome": "begun"}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "log/audit.jsonl"


def test_entries_are_lines_with_their_time(file):
    audit.append(file, **ENTRY, arguments={"students": "ada\nbob", "test": True})
    audit.append(file, **ENTRY | {"who": "prof"})
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["who"] for line in lines] == ["gina", "prof"]
    assert lines[0]["arguments"] == {"students": "ada\nbob", "test": True}
    assert lines[0]["time"].endswith("+00:00")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_an_entry_is_on_the_disk_when_it_returns(file, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        audit.os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_size), real(fd))
    )
    audit.append(file, **ENTRY)
    assert synced == [file.stat().st_size]


@pytest.mark.parametrize("written", [0, 7])
def test_a_full_disk_is_told_and_leaves_no_half_line(file, monkeypatch, written):
    audit.append(file, **ENTRY)
    before, real = file.read_bytes(), os.write

    def full(descriptor, data):
        if not written:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:written])

    monkeypatch.setattr(audit.os, "write", full)
    with pytest.raises(OSError):  # noqa: PT011 - both kinds
        audit.append(file, **ENTRY)
    assert file.read_bytes() == before


def test_half_a_line_costs_itself_alone(file):
    audit.append(file, **ENTRY)
    with file.open("a") as torn:
        torn.write('{"time": "2030-')
    audit.append(file, **ENTRY | {"who": "prof"})
    found = list(audit.entries(file))
    assert [entry.get("who") for entry in found] == ["gina", None, "prof"]
    assert found[1] == {"damaged": '{"time": "2030-'}


def test_what_is_long_is_cut(file):
    audit.append(file, **ENTRY | {"arguments": {"students": "a" * 10_000, "more": ["b" * 10_000]}})
    assert len(file.read_text()) < 1000


def test_what_is_asked_for(file):
    assert list(audit.entries(file)) == []
    for time, who, verb in (("2030-01-01", "gina", "collect"), ("2030-02-01", "prof", "release")):
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as log:
            log.write(json.dumps({"time": time, "who": who, "verb": verb}) + "\n")
    for wanted in ({"since": "2030-01-15"}, {"user": "prof"}, {"verb": "release"}):
        assert [entry["who"] for entry in audit.entries(file, **wanted)] == ["prof"]
    assert len(list(audit.entries(file, since="2030-01-01"))) == 2
