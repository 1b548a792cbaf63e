"""What culling remembers, and its log."""

import json
from datetime import UTC, datetime, timedelta

import pytest

import tests.support.hub  # noqa: F401  isort: skip

from classhub.course.report import Refused
from classhub.culling import record
from classhub.culling.policy import Seen, Server
from classhub.culling.record import Record, life

NOW = datetime(2030, 3, 15, 12, tzinfo=UTC)
ADA = Server("ada", "", NOW)


@pytest.fixture
def kept(tmp_path):
    with Record(tmp_path / "culling").alone():
        yield Record(tmp_path / "culling")


def test_what_was_seen_is_remembered(kept):
    seen = {life(ADA): Seen(NOW, NOW + timedelta(hours=1)), "bob": Seen(None, NOW)}
    kept.remember(seen | {"cleo": Seen()})
    assert kept.seen() == seen
    kept.remember({})
    assert kept.seen() == {}
    assert kept.memory.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"a": 1}', '{"a": ["soon", null]}', '{"a": [1, 2]}']
)
def test_a_memory_that_cannot_be_read_is_none(kept, content):
    kept.memory.write_text(content)
    assert kept.seen() == {}


def test_a_server_that_is_started_anew_is_another(kept):
    assert life(ADA) != life(ADA._replace(started=NOW + timedelta(seconds=1)))
    assert life(ADA) != life(ADA._replace(name="extra"))


def test_the_log_has_a_line_a_decision_and_an_end(kept, monkeypatch):
    kept.note(ADA, "stopped", "idle 24:00")
    kept.note(ADA._replace(name="extra"), "kept", "1 of 1 kernels busy, idle 24:00")
    first, second = map(json.loads, kept.log.read_text().splitlines())
    assert (first["server"], first["decision"], first["reason"]) == ("ada", "stopped", "idle 24:00")
    assert second["server"] == "ada/extra"
    assert datetime.fromisoformat(first["at"]).tzinfo
    monkeypatch.setattr(record, "LARGEST", 100)
    for number in range(3):
        kept.note(ADA, "stopped", f"idle {number}")
    assert [
        len(path.read_text().splitlines()) for path in sorted(kept.directory.glob("*.jsonl*"))
    ] == [1, 2]


def test_two_do_not_cull_at_once(kept):
    with pytest.raises(Refused, match="another run culls just now"), kept.alone():
        pass
