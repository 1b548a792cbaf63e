"""The tree's states by real Salt without a master: loaders, top file, requisites and test mode as on a host.

The states of the class would change this machine: only `check`, and single states on a scratch directory, are applied.
"""

import json
import os
import sys
import uuid
from pathlib import Path

import pytest

from tests.support.loading import ROOT
from tests.support.masterless import caller

sys.path.insert(0, str(ROOT / "salt" / "hub" / "package"))

from classhub.course import settings as course  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    """Where the hub remembers its filesystem: not below /var/lib of the machine that runs the tests."""
    return tmp_path_factory.mktemp("memory") / "classhub/filesystem.json"


@pytest.fixture(scope="module")
def hub(tmp_path_factory, memory):
    """The sound class's hub."""
    own = tmp_path_factory.mktemp("own")
    text = (ROOT / "_modules/classhub_filesystem.py").read_text()
    assert text.count('"/var/lib/classhub/filesystem.json"') == 1
    (own / "_modules").mkdir()
    moved = text.replace("/var/lib/classhub/filesystem.json", str(memory))
    (own / "_modules/classhub_filesystem.py").write_text(moved)
    text = (ROOT / "_modules/classhub_certificate.py").read_text()
    assert text.count('"/etc/classhub/ca"') == 1
    moved = text.replace("/etc/classhub/ca", str(memory.parent.parent / "ca"))
    (own / "_modules/classhub_certificate.py").write_text(moved)
    return caller("lab", "hub", tmp_path_factory.mktemp("salt"), own_modules=own)


@pytest.fixture
def new(memory):
    """The hub has seen no filesystem before."""
    memory.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A host of a class with three faults, in two files."""
    scratch = tmp_path_factory.mktemp("salt")
    root = scratch / "pillar"
    root.mkdir()
    (root / "machine.sls").write_text("classhub: {server: {memory: 1 GBB}, domain: nope}\n")
    (root / "roster.csv").write_text("username,role\nAda Lind,student\n")
    return caller("lab", "node1", scratch, root)


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """The hub of a class whose students have quotas."""
    root = tmp_path_factory.mktemp("pillar")
    quota = "{storage: {quota: {roles: {student: 5G}, users: {ada: 0}}}}"
    (root / "machine.sls").write_text(f"classhub: {quota}\n")
    return caller("lab", "hub", tmp_path_factory.mktemp("salt"), root)


def only(answer):
    """The one state of an answer."""
    assert isinstance(answer, dict), answer
    (state,) = answer.values()
    return state


def single(host, state, **kwargs):
    return only(host.cmd("state.single", state, **kwargs))


# -- check ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", [False, True])
def test_check_of_a_sound_class_succeeds(hub, test):
    state = only(hub.cmd("state.apply", "check", test=test))
    assert (state["result"], state["changes"]) == (True, {})


@pytest.mark.parametrize("test", [False, True])
def test_check_of_a_faulty_class_names_all_faults_at_once(faulty, test):
    state = only(faulty.cmd("state.apply", "check", test=test))
    told = state["name"] + state["comment"]
    assert "nothing was changed" in told
    assert "classhub:server:memory: '1 GBB' is not a size" in told
    assert "classhub:domain: 'nope' is not a domain name" in told
    assert "classhub:roster:file: roster.csv: line 2: username 'ada lind' is not" in told


@pytest.mark.parametrize("test", [False, True])
def test_check_of_a_faulty_class_fails_without_changes(faulty, test):
    state = only(faulty.cmd("state.apply", "check", test=test))
    assert (state["result"], state["changes"]) == (False, {})


def test_top_file_gives_a_faulty_class_the_check_alone(faulty):
    assert faulty.cmd("state.show_top") == {"base": ["check"]}


def test_every_module_of_the_tree_loads(hub):
    """A module that fails to load is silently absent in Salt."""
    modules = hub.cmd("sys.list_modules", "classhub*")
    states = hub.cmd("sys.list_state_modules", "classhub*")
    nouns = {"classhub_filesystem", "classhub_image", "classhub_roster", "classhub_service"}
    nouns |= {"classhub_certificate", "classhub_secrets"}
    assert nouns | {"classhub", "classhub_engine", "classhub_swarm"} <= set(modules)
    assert nouns | {"classhub_mine", "classhub_secrets", "classhub_swarm"} <= set(states)


# -- filesystem -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("new")
def test_marking_is_predicted_done_and_then_left_alone(hub, memory, tmp_path):
    root = str(tmp_path)
    predicted = single(hub, "classhub_filesystem.marked", name=root, test=True)
    assert (predicted["result"], predicted["changes"]) == (None, {root: "marked"})
    assert list(tmp_path.iterdir()) == []

    done = single(hub, "classhub_filesystem.marked", name=root)
    assert (done["result"], done["changes"]) == (True, {root: "marked"})
    written = (tmp_path / ".classhub/filesystem.json").read_text()
    assert uuid.UUID(json.loads(written)["id"])
    assert memory.read_text() == written

    for test in (False, True):
        again = single(hub, "classhub_filesystem.marked", name=root, test=test)
        assert (again["result"], again["changes"]) == (True, {})
    assert (tmp_path / ".classhub/filesystem.json").read_text() == written


@pytest.mark.usefixtures("new")
def test_empty_disk_in_the_place_of_a_marked_one_is_refused(hub, tmp_path):
    marked, empty = tmp_path / "marked", tmp_path / "empty"
    marked.mkdir()
    empty.mkdir()
    assert single(hub, "classhub_filesystem.marked", name=str(marked))["result"] is True
    refused = single(hub, "classhub_filesystem.marked", name=str(empty))
    assert (refused["result"], refused["changes"]) == (False, {})
    assert f"{empty} is not the class's filesystem any more" in refused["comment"]
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("test", [False, True])
def test_nothing_is_marked_where_nothing_is_mounted(hub, tmp_path, test):
    state = single(hub, "classhub_filesystem.marked", name=str(tmp_path), mounted=True, test=test)
    assert (state["result"], state["changes"]) == (False, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("new")
def test_node_tells_the_classs_filesystem_from_an_empty_directory(hub, tmp_path):
    marked, empty = tmp_path / "marked", tmp_path / "empty"
    marked.mkdir()
    empty.mkdir()
    ident = hub.cmd("classhub_filesystem.mark", str(marked))
    hub.cmd("mine.send", "classhub_filesystem", ident, mine_function="test.echo")

    def verified(path, **kwargs):
        return single(
            hub, "classhub_filesystem.verified", name=str(path), hub="hub", wait=0, **kwargs
        )

    assert verified(marked)["result"] is True
    assert verified(marked, test=True)["result"] is True
    refused = verified(empty)
    assert (refused["result"], refused["changes"]) == (False, {})
    assert f"{empty} is not the filesystem that hub marked" in refused["comment"]
    assert verified(empty, test=True)["result"] is None
    assert list(empty.iterdir()) == []


# -- mine -------------------------------------------------------------------------------------------------------------


def test_publishing_is_predicted_done_and_then_left_alone(hub):
    arguments = {"name": "classhub_test", "function": "classhub.hosts"}

    def publish(*readers, **kwargs):
        return single(hub, "classhub_mine.published", **arguments, readers=list(readers), **kwargs)

    assert publish("node1", test=True)["result"] is None
    assert hub.cmd("mine.get", "hub", "classhub_test") == {}
    assert publish("node1")["changes"]
    assert "10.77.0.11" in str(hub.cmd("mine.get", "hub", "classhub_test"))
    assert publish("node1")["changes"] == {}
    assert publish("node1", "node2")["changes"], "a new reader"


# -- certificates -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="the files are root's")
def test_hub_has_an_authority_and_the_proxy_trusts_it(hub, memory, tmp_path):
    ca = memory.parent.parent / "ca"
    ca.mkdir()
    trusted = tmp_path / "hub-ca.crt"
    issued = {
        "name": str(tmp_path / "hub.pem"),
        "authority": str(ca / "current.pem"),
        "subject": "hub.classhub.internal",
    }
    published = {
        "name": "classhub_hub_authorities",
        "function": "classhub_certificate.authorities",
        "readers": ["proxy"],
    }
    trust = {"name": str(trusted), "hub": "hub", "wait": 1}
    states = [
        ("classhub_certificate.authority", {"name": str(ca)}),
        ("classhub_mine.published", published),
        ("classhub_certificate.issued", issued),
        ("classhub_certificate.trusted", trust),
    ]
    for state, arguments in states:
        predicted = single(hub, state, **arguments, test=True)
        assert predicted["result"] is None, predicted
        assert single(hub, state, **arguments)["changes"], state
    for state, arguments in states:
        for test in (True, False):
            again = single(hub, state, **arguments, test=test)
            assert (again["result"], again["changes"]) == (True, {}), again
    assert trusted.read_text() == hub.cmd("classhub_certificate.authorities")
    assert "PRIVATE" not in trusted.read_text()

    hub.cmd("classhub_secrets.rotate", "authority")
    assert [bool(single(hub, state, **arguments)["changes"]) for state, arguments in states] == [
        True
    ] * 4


# -- the course -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="the file is root's")
def test_settings_of_the_course_are_predicted_written_and_then_left_alone(hub, tmp_path):
    file = tmp_path / "etc/course.json"
    arguments = {"name": str(file), "course_dir": "/c", "exchange": "/e", "store": "/s"}

    def described(**kwargs):
        return single(hub, "classhub_course.described", **arguments, **kwargs)

    assert described(test=True)["result"] is None
    assert not file.exists()
    assert described()["changes"]
    assert file.stat().st_mode & 0o7777 == 0o600
    settings = course.load(file)
    assert (settings.course_id, settings.timezone) == ("intro", "Europe/Paris")
    assert (settings.exchange, settings.max_bytes) == (Path("/e"), 512 << 20)
    assert settings.by_name["prof"].role == "instructor"
    for test in (False, True):
        assert (described(test=test)["result"], described(test=test)["changes"]) == (True, {})


@pytest.mark.skipif(Path("/opt/jupyterhub").exists(), reason="this machine is a hub")
def test_exchange_of_a_bare_host_is_predicted_and_not_made(hub):
    predicted = single(hub, "classhub_course.exchanged", name="exchange", test=True)
    assert (predicted["result"], predicted["changes"]) == (None, {"exchange": "settled"})
    refused = single(hub, "classhub_course.exchanged", name="exchange")
    assert (refused["result"], refused["changes"]) == (False, {})
    assert "apply the states of the hub first" in refused["comment"]


# -- quotas -----------------------------------------------------------------------------------------------------------


def test_quotas_of_a_bare_hub_are_predicted(limited, hub):
    state = single(limited, "classhub_quota.applied", name="quotas", test=True)
    assert (state["result"], state["comment"]) == (
        None,
        f"{len(state['changes'])} people would get other quotas",
    )
    assert set(state["changes"].values()) == {"quota"}
    assert "s01" in state["changes"]
    assert "ada" not in state["changes"]
    state = single(hub, "classhub_quota.applied", name="quotas", test=True)
    assert (state["result"], state["changes"]) == (True, {})


def test_quota_tools_are_for_a_class_with_quotas(limited, hub):
    for host, installed in ((limited, True), (hub, False)):
        chunks = host.cmd("state.show_low_sls", "course.people")
        assert (
            "quota" in {chunk["name"] for chunk in chunks if chunk["state"] == "pkg"}
        ) is installed
