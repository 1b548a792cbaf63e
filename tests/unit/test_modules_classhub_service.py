"""classhub_service.stale: which of the files that a service reads are newer than its start."""

import os
import time
import types

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

START = "ActiveEnterTimestampMonotonic"
LAST = "StateChangeTimestampMonotonic"


@pytest.fixture
def stamps():
    """What systemd says, in microseconds since the boot: started 100 s ago, reloaded 50 s ago."""
    return {START: str(900 * 10**6), LAST: str(950 * 10**6), "ReloadResult": "success"}


@pytest.fixture
def asked():
    return []


@pytest.fixture
def module(stamps, asked, monkeypatch):
    module = load("modules", "classhub_service")
    clock = types.SimpleNamespace(time=time.time, monotonic=lambda: 1000.0)
    monkeypatch.setattr(module, "time", clock)

    def run_stdout(argv, python_shell):
        assert python_shell is False
        asked.append(argv)
        (stamp,) = [word.removeprefix("--property=") for word in argv if "property" in word]
        return stamps[stamp]

    monkeypatch.setattr(module, "__salt__", {"cmd.run_stdout": run_stdout}, raising=False)
    return module


@pytest.fixture
def aged():
    """``aged(path, seconds)`` -> the path as text, last changed so long ago; made where it is not there."""

    def age(path, seconds):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        stamp = time.time() - seconds
        os.utime(path, (stamp, stamp))
        return str(path)

    return age


def test_file_newer_than_the_start_is_stale(module, asked, aged, tmp_path):
    old, new = aged(tmp_path / "old", 110), aged(tmp_path / "new", 90)
    assert module.stale("web", [old, new]) == [new]
    assert asked == [["systemctl", "show", "web", f"--property={START}", "--value"]]


def test_what_is_not_there_counts_as_read(module, tmp_path):
    assert module.stale("web", [str(tmp_path / "none")]) == []


@pytest.mark.parametrize(("age", "fresh"), [(110, True), (75, True), (25, False)])
def test_reload_counts_where_the_service_reads_again(module, asked, aged, tmp_path, age, fresh):
    path = aged(tmp_path / "settings", age)
    assert module.stale("web", [path], reloads=True) == ([] if fresh else [path])
    assert f"--property={LAST}" in asked[-1]


@pytest.mark.parametrize("result", ["exit-code", "timeout"])
def test_a_reload_that_failed_read_nothing(module, stamps, aged, tmp_path, result):
    """The next run must not be content with a certificate that the service refused."""
    stamps["ReloadResult"] = result
    path = aged(tmp_path / "settings", 75)
    assert module.stale("web", [path], reloads=True) == [path]
    path = aged(tmp_path / "settings", 110)
    assert module.stale("web", [path], reloads=True) == []


def test_reload_does_not_count_where_the_service_reads_once(module, aged, tmp_path):
    path = aged(tmp_path / "settings", 75)
    assert module.stale("web", [path]) == [path]


@pytest.fixture
def folder(aged, tmp_path):
    """A directory of which all is old: a file, and one two folders down."""
    path = tmp_path / "package"
    for file in (path / "top.py", path / "a/b/deep.py"):
        aged(file, 200)
    for each in (path / "a/b", path / "a", path):
        aged(each, 200)
    return path


def test_directory_of_old_files_is_read(module, folder):
    assert module.stale("web", [str(folder)]) == []


@pytest.mark.parametrize("file", ["top.py", "a/b/deep.py", "a/b", "a", "."])
def test_directory_is_stale_by_anything_in_it(module, aged, folder, file):
    aged(folder / file, 10)
    assert module.stale("web", [str(folder)]) == [str(folder)]


@pytest.mark.parametrize("file", ["top.py", "a/b/deep.py"])
def test_removed_file_changes_its_directory(module, folder, file):
    (folder / file).unlink()
    assert module.stale("web", [str(folder)]) == [str(folder)]


def test_added_file_with_an_old_date_changes_its_directory(module, aged, folder):
    """As `cp -p` and packages bring them."""
    aged(folder / "a/new.py", 500)
    assert module.stale("web", [str(folder)]) == [str(folder)]


@pytest.mark.parametrize("place", [".", "a/b"])
def test_what_python_writes_beside_its_modules_is_ignored(module, aged, folder, place):
    cache = folder / place / "__pycache__"
    aged(cache / "top.cpython-311.pyc", 10)
    aged(folder / place, 200)  # the cache was made at the first start
    assert module.stale("web", [str(folder)]) == []


@pytest.mark.parametrize("reloads", [False, True])
@pytest.mark.parametrize("told", ["", "0", "[not set]"])
def test_service_that_never_ran(module, stamps, tmp_path, reloads, told):
    stamps |= {START: told, LAST: told}
    with pytest.raises(CommandExecutionError, match="^web does not run; see journalctl -u web$"):
        module.stale("web", [str(tmp_path)], reloads)
