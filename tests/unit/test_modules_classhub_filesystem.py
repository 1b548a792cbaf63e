"""classhub_filesystem functions: an id once and for all, which the hub remembers."""

import json
import os
import uuid

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load
from tests.support.waiting import wait_until


@pytest.fixture
def pinned(tmp_path):
    return tmp_path / "state/filesystem.json"


@pytest.fixture
def module(pinned, monkeypatch):
    module = load("modules", "classhub_filesystem")
    monkeypatch.setattr(module, "PINNED", str(pinned))
    return module


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def path(root):
    return root / ".classhub/filesystem.json"


def test_mark_gives_an_id_once_and_remembers_it(module, root, path, pinned):
    ident = module.mark(str(root))
    assert uuid.UUID(ident).version == 4
    assert json.loads(path.read_text()) == json.loads(pinned.read_text()) == {"id": ident}
    before = pinned.stat()
    assert module.mark(str(root)) == module.marker(str(root)) == module.pin() == ident
    assert pinned.stat() == before
    for written in (path, pinned):
        assert [entry.name for entry in written.parent.iterdir()] == [written.name]


def test_two_filesystems_differ(module, tmp_path, pinned):
    one = module.mark(str(tmp_path / "one"))
    pinned.unlink()  # another hub
    assert module.mark(str(tmp_path / "two")) != one


def test_hub_that_is_set_up_again_adopts_the_filesystem(module, root, path, pinned):
    ident = module.mark(str(root))
    pinned.unlink()
    before = path.stat()
    assert module.mark(str(root)) == module.pin() == ident
    assert path.stat() == before


def test_new_hub_has_no_pin(module, pinned):
    assert module.pin() == ""
    assert not pinned.parent.exists()


def test_empty_disk_in_the_place_of_the_homes_is_refused_and_stays_empty(module, root, pinned):
    module.mark(str(root))
    before = pinned.read_text()
    root.rename(root.with_name("unplugged"))
    root.mkdir()
    with pytest.raises(CommandExecutionError) as caught:
        module.mark(str(root))
    sentence = f"{root} is not the class's filesystem any more. Is its disk mounted?"
    assert str(caught.value).startswith(sentence)
    assert f"or delete {pinned}" in str(caught.value)
    assert list(root.iterdir()) == []
    assert pinned.read_text() == before


def test_filesystem_of_another_class_is_refused_and_kept(module, root, path, pinned):
    module.mark(str(root))
    before, foreign = pinned.read_text(), json.dumps({"id": str(uuid.uuid4())})
    path.write_text(foreign)
    with pytest.raises(CommandExecutionError, match="is not the class's filesystem any more"):
        module.mark(str(root))
    assert (path.read_text(), pinned.read_text()) == (foreign, before)


def test_homes_that_moved_are_marked_after_the_pin_is_deleted(module, root, pinned):
    """The way out that the refusal names."""
    ident = module.mark(str(root))
    moved = root.with_name("moved")
    moved.mkdir()
    pinned.unlink()
    assert module.mark(str(moved)) == module.pin() != ident


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", "\udcff"])
def test_damaged_pin_is_told_and_nothing_is_written(module, root, pinned, text):
    pinned.parent.mkdir()
    damaged = text.encode(errors="surrogateescape")
    pinned.write_bytes(damaged)
    for function in (module.pin, lambda: module.mark(str(root))):
        with pytest.raises(CommandExecutionError, match=f"^{pinned} cannot be read: "):
            function()
    assert list(root.iterdir()) == []
    assert pinned.read_bytes() == damaged


def test_filesystem_without_a_marker(module, root):
    with pytest.raises(CommandExecutionError, match="is not a marker of the class's filesystem"):
        module.marker(str(root))


def test_filesystem_that_does_not_answer_is_told_and_does_not_hang(module, root, path, monkeypatch):
    """A pipe into which nobody writes stands for a mount whose server is away."""
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(CommandExecutionError) as caught:
        module.marker(str(root))
    assert str(caught.value).startswith(f"{root} does not answer (waited 0.2 s). Is the hub up")


def test_silence(module, root, monkeypatch):
    assert module.silence(str(root)) == module.silence(str(root / "nothing")) == ""
    monkeypatch.setattr(module, "_child", lambda command: None)
    assert module.silence(str(root)).startswith(f"{root} does not answer")


def test_child_that_hangs_is_killed(module, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    mark = tmp_path / "pid"
    assert module._child(["sh", "-c", f"echo $$ >{mark}; exec sleep 600"]) is None
    status = f"/proc/{mark.read_text().strip()}/stat"

    def gone():
        try:
            with open(status) as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_until("the child is gone", gone, 10)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", "\udcff"])
def test_damaged_marker_is_told_and_stays(module, root, path, pinned, text):
    path.parent.mkdir()
    damaged = text.encode(errors="surrogateescape")
    path.write_bytes(damaged)
    for function in (module.marker, module.mark):
        with pytest.raises(CommandExecutionError, match="is not a marker"):
            function(str(root))
    assert path.read_bytes() == damaged
    assert not pinned.exists()
