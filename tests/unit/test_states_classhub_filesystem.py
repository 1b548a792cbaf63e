"""classhub_filesystem states: marked once on the hub, recognised on the nodes."""

import pytest

from tests.support.loading import load


@pytest.fixture
def mine():
    return {}


@pytest.fixture
def pinned(tmp_path):
    return tmp_path / "state/filesystem.json"


@pytest.fixture
def states(mine, pinned, monkeypatch):
    module, real = load("states", "classhub_filesystem"), load("modules", "classhub_filesystem")
    monkeypatch.setattr(real, "PINNED", str(pinned))
    wait = load("utils", "classhub_wait")
    monkeypatch.setattr(wait.time, "sleep", lambda seconds: None)
    salt = {
        f"classhub_filesystem.{name}": getattr(real, name)
        for name in ("marker", "mark", "pin", "silence")
    }
    salt["mine.get"] = lambda target, name: mine if name == "classhub_filesystem" else {}
    monkeypatch.setattr(module, "__salt__", salt, raising=False)
    monkeypatch.setattr(module, "__opts__", {"test": False}, raising=False)
    monkeypatch.setattr(module, "__utils__", {"classhub_wait.until": wait.until}, raising=False)
    return module


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def root(home):
    return str(home)


def mark(states, root):
    return states.__salt__["classhub_filesystem.mark"](root)


def test_marked_once(states, root):
    assert states.marked(root) == {
        "name": root,
        "result": True,
        "changes": {root: "marked"},
        "comment": f"{root} was marked",
    }
    before = states.__salt__["classhub_filesystem.marker"](root)
    again = states.marked(root)
    assert (again["result"], again["changes"]) == (True, {})
    assert again["comment"] == f"{root} is marked"
    assert states.__salt__["classhub_filesystem.marker"](root) == before


def test_marked_is_predicted_and_not_written(states, root, home, pinned):
    states.__opts__["test"] = True
    ret = states.marked(root)
    assert (ret["result"], ret["changes"]) == (None, {root: "marked"})
    assert ret["comment"] == f"{root} would be marked"
    assert list(home.iterdir()) == []
    assert not pinned.exists()


@pytest.mark.parametrize("test", [False, True])
def test_nothing_is_marked_where_nothing_is_mounted(states, root, home, pinned, test):
    states.__opts__["test"] = test
    ret = states.marked(root, mounted=True)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"].startswith(f"Nothing is mounted on {root}")
    assert list(home.iterdir()) == []
    assert not pinned.exists()


def test_mount_is_marked(states, root, monkeypatch):
    monkeypatch.setattr(states.os.path, "ismount", lambda path: path == root)
    assert states.marked(root, mounted=True)["changes"] == {root: "marked"}


@pytest.mark.parametrize("test", [False, True])
def test_damaged_marker_is_not_replaced(states, root, home, test):
    mark(states, root)
    states.__opts__["test"] = test
    (home / ".classhub/filesystem.json").write_text("{")
    ret = states.marked(root)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "is not a marker of the class's filesystem" in ret["comment"]
    assert (home / ".classhub/filesystem.json").read_text() == "{"


@pytest.mark.parametrize("test", [False, True])
def test_empty_disk_in_the_place_of_the_homes_is_an_error(states, root, home, test):
    mark(states, root)
    states.__opts__["test"] = test
    home.rename(home.with_name("unplugged"))
    home.mkdir()
    ret = states.marked(root)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"].startswith(f"{root} is not the class's filesystem any more")
    assert list(home.iterdir()) == []


def test_marker_that_the_hub_does_not_know_is_adopted(states, root, pinned):
    ident = mark(states, root)
    pinned.unlink()
    states.__opts__["test"] = True
    assert (states.marked(root)["result"], pinned.exists()) == (None, False)
    states.__opts__["test"] = False
    assert states.marked(root)["changes"] == {root: "marked"}
    assert states.__salt__["classhub_filesystem.pin"]() == ident
    assert states.marked(root)["changes"] == {}


@pytest.mark.parametrize("test", [False, True])
def test_damaged_pin_is_an_error(states, root, pinned, test):
    mark(states, root)
    pinned.write_text("{")
    states.__opts__["test"] = test
    ret = states.marked(root)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"].startswith(f"{pinned} cannot be read: ")
    assert pinned.read_text() == "{"


def test_marker_that_cannot_be_written_is_an_error(states, root, monkeypatch):
    def fail(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setitem(states.__salt__, "classhub_filesystem.mark", fail)
    ret = states.marked(root)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "Permission denied" in ret["comment"]


@pytest.mark.parametrize("test", [False, True])
def test_filesystem_that_does_not_answer_is_told_before_anything_touches_it(states, root, test):
    states.__opts__["test"] = test
    assert states.answering(root) == {
        "name": root,
        "result": True,
        "changes": {},
        "comment": f"{root} answers",
    }
    states.__salt__ |= {"classhub_filesystem.silence": lambda path: f"{path} does not answer"}
    for name in ("marker", "mark", "pin"):
        states.__salt__[f"classhub_filesystem.{name}"] = None  # would fail if called
    for ret in (states.answering(root), states.marked(root), states.marked(root, mounted=True)):
        assert (ret["result"], ret["changes"]) == (False, {})
        assert ret["comment"] == f"{root} does not answer"


@pytest.mark.parametrize("test", [False, True])
def test_node_recognises_the_filesystem(states, mine, root, test):
    mine["hub"] = mark(states, root)
    states.__opts__["test"] = test
    ret = states.verified(root, "hub", 0)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert ret["comment"] == f"{root} is the class's filesystem"


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("published", ["", "another"])
def test_node_refuses_every_other_filesystem(states, mine, root, marked, published):
    """Above all: two hosts without a marker do not agree."""
    if marked:
        mark(states, root)
    mine["hub"] = published
    ret = states.verified(root, "hub", 0)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"].startswith(f"{root} is not the filesystem that hub marked (waited 0 s)")
    states.__opts__["test"] = True
    assert states.verified(root, "hub", 0)["result"] is None


def test_filesystem_that_appears_late_is_waited_for(states, mine, root, monkeypatch):
    waits = load("utils", "classhub_wait")
    monkeypatch.setattr(waits.time, "sleep", lambda seconds: mine.update(hub=mark(states, root)))
    assert states.verified(root, "hub", 60)["result"] is True


def test_prediction_does_not_wait(states, root, monkeypatch):
    states.__opts__["test"] = True
    monkeypatch.setitem(states.__utils__, "classhub_wait.until", None)
    ret = states.verified(root, "hub", 600)
    assert (ret["result"], ret["changes"]) == (None, {})
    assert ret["comment"] == f"{root} would be compared with the hub's marker"
