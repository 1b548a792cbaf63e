"""classhub_filesystem functions: an id once and for all."""

import json
import uuid

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load


@pytest.fixture
def module():
    return load("modules", "classhub_filesystem")


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".classhub/filesystem.json"


def test_mark_gives_an_id_once(module, tmp_path, path):
    ident = module.mark(str(tmp_path))
    assert uuid.UUID(ident).version == 4
    assert json.loads(path.read_text()) == {"id": ident}
    assert module.mark(str(tmp_path)) == module.marker(str(tmp_path)) == ident
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_two_filesystems_differ(module, tmp_path):
    assert module.mark(str(tmp_path / "one")) != module.mark(str(tmp_path / "two"))


def test_filesystem_without_a_marker(module, tmp_path):
    with pytest.raises(CommandExecutionError, match="is not a marker of the class's filesystem"):
        module.marker(str(tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", "\udcff"])
def test_damaged_marker_is_told_and_stays(module, tmp_path, path, text):
    path.parent.mkdir()
    damaged = text.encode(errors="surrogateescape")
    path.write_bytes(damaged)
    for function in (module.marker, module.mark):
        with pytest.raises(CommandExecutionError, match="is not a marker"):
            function(str(tmp_path))
    assert path.read_bytes() == damaged
