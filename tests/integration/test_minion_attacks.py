"""What root on a node can ask of the Salt master, with the node's own key and a client that says what it likes.

tests/lab/test_7_minion.py does the same in the lab; docs/explanation/security.md has the table.
"""

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import salt.crypt
import salt.utils.event
import yaml
from salt.exceptions import SaltException

from tests.support.taken_over import (
    CLAIMS,
    COMMANDS,
    IDS,
    PATHS,
    REQUESTS,
    WITHOUT_A_KEY,
    Minion,
    answers_for_another,
    refused,
)

pytestmark = pytest.mark.slow

MARK = "only-for-the-hub"


@pytest.fixture(scope="module")
def node(running):
    opts = running.minions["node1"].config
    return Minion(running.minions["node1"].config_file, f"tcp://127.0.0.1:{opts['master_port']}")


@pytest.fixture(scope="module", autouse=True)
def secret(running):
    """What pillar/secrets/ would have for the hub."""
    folder = running.pillar / "secrets"
    folder.mkdir()
    (folder / "hub.sls").write_text(yaml.safe_dump({"secret": MARK}), encoding="utf-8")
    running.ask_all("saltutil.refresh_pillar", wait=True)
    assert running.ask("hub", "pillar.items", unmask=True)["secret"] == MARK
    yield
    (folder / "hub.sls").unlink()
    folder.rmdir()
    running.ask_all("saltutil.refresh_pillar", wait=True)


def pillar_of(node, **load):
    whole = {"saltenv": "base", "pillarenv": None, "grains": {"id": "node1"}} | load
    return node.ask("_pillar", key="pillar", **whole)


def test_the_client_speaks_to_the_master(node):
    """The control of all below."""
    assert pillar_of(node)["classhub"]["roles"] == ["node"]


# -- what is another's


@pytest.mark.parametrize("version", [3, 1])
@pytest.mark.parametrize("cmd", REQUESTS)
def test_nobody_speaks_for_another(running, node, cmd, version):
    answer = node.ask(cmd, claimed="hub", version=version, **REQUESTS[cmd])
    assert refused(answer), answer
    assert running.ask("hub", "test.ping") is True


@pytest.mark.parametrize("load", CLAIMS.values(), ids=CLAIMS)
def test_a_nodes_pillar_has_nothing_of_the_hubs(node, load):
    answer = str(pillar_of(node, **load))
    assert MARK not in answer
    assert "lab_password': 'lab'" not in answer
    assert "ada@class.test" not in answer


def test_another_key_is_not_the_hubs(running, node, tmp_path):
    opts = node.opts | {"id": "hub", "pki_dir": str(tmp_path), "auth_tries": 1}
    with pytest.raises((SystemExit, SaltException)):
        salt.crypt.SAuth(opts).sign_in(timeout=15, safe=False, tries=1)
    assert running.ask("hub", "test.ping") is True


def test_what_is_in_the_mine_for_another_is_not_seen(with_modules, node):
    published = with_modules.single(
        "hub",
        "classhub_mine.published",
        name="for_the_proxy",
        function="classhub.hosts",
        readers=["proxy"],
    )
    assert published["result"] is True
    seen = with_modules.ask("proxy", "mine.get", "hub", "for_the_proxy")
    assert "hub" in seen, "the control"
    for kind, target in [
        ("glob", "*"),
        ("list", ["hub"]),
        ("compound", "hub or node1"),
        ("pcre", ".*"),
    ]:
        answer = node.ask("_mine_get", tgt=target, fun="for_the_proxy", tgt_type=kind)
        assert not answer, f"{kind}: {answer}"
    answer = node.ask("_mine_get", tgt="*", fun=["for_the_proxy", "mine_interval"], tgt_type="glob")
    assert "address" not in str(answer)


# -- files


def served(node, path, saltenv="base"):
    answer = node.ask("_serve_file", path=path, saltenv=saltenv, loc=0)
    return answer.get("data", "") if isinstance(answer, dict) else ""


def test_states_are_served(node):
    assert served(node, "top.sls"), "the control of the next"


@pytest.mark.parametrize(("path", "saltenv"), PATHS)
def test_nothing_but_states_is_served(node, path, saltenv):
    assert not served(node, path, saltenv)
    found = node.ask("_file_find", path=path, saltenv=saltenv)
    assert not (isinstance(found, dict) and found.get("path")), found


def test_nothing_is_written_to_the_master(node, scratch):
    name = f"forged-{uuid.uuid4().hex}"
    for path in ([name], ["..", "..", name], f"/tmp/{name}"):
        answer = node.ask("_file_recv", path=path, loc=0, data=b"forged", size=6)
        assert refused(answer), answer
    assert not list(scratch.rglob(name))


# -- commands


@pytest.mark.parametrize(("cmd", "load"), COMMANDS)
def test_a_node_commands_nobody(node, cmd, load):
    answer = node.ask(cmd, **load)
    assert refused(answer), answer


@pytest.mark.parametrize("load", WITHOUT_A_KEY, ids=" ".join)
def test_who_has_no_key_gets_nothing(node, load):
    answer = node.shout(**load)
    told = str(answer)
    assert refused(answer) or "error" in told, answer
    assert not [word for word in ("minions_pre", "jid", "root:", "token'", MARK) if word in told]


# -- events


@pytest.fixture
def bus(running):
    """The master's event bus."""
    opts = running.master.config
    with salt.utils.event.get_event(
        "master", sock_dir=opts["sock_dir"], opts=dict(opts), listen=True
    ) as bus:
        yield bus


def jobs_until(bus, ident, seconds=60):
    """The jobs that the master began, up to the one for this minion alone."""
    seen, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        event = bus.get_event(wait=5, tag="salt/job/", match_type="startswith", full=True)
        if event and event["tag"].endswith("/new"):
            seen.append(event["data"])
            if event["data"]["tgt"] == [ident]:
                return seen
    raise AssertionError(f"no job for {ident}; seen: {seen}")


def test_a_forged_start_only_brings_the_modules_to_whom_it_names(with_modules, node, bus):
    """An event's id is the sender's own word. A name is a name: no pattern, no code, no list of them."""
    for ident in IDS:
        node.tell("salt/minion/node1/start", {"id": ident, "cmd": "_minion_event"})
    node.tell("salt/minion/node1/start", {"id": "proxy", "tgt": "*", "fun": "cmd.run"})
    jobs = jobs_until(bus, "proxy")
    assert {job["fun"] for job in jobs} == {"saltutil.sync_all"}
    for job in jobs:
        assert job["tgt_type"] == "list"
        assert (job["tgt"], job["minions"]) in ((["hub"], ["hub"]), (["proxy"], ["proxy"])), job


@pytest.mark.parametrize(
    "tag", ["salt/reactors/manage/add", "x/salt/reactors/manage/add", "salt/reactors/manage/delete"]
)
def test_the_reactor_learns_nothing_from_a_node(node, bus, tag):
    data = {"event": "forged/*", "reactors": ["/etc/passwd"], "key": "", "user": "root"}
    node.tell(tag, data)
    node.ask("_minion_event", tag=tag, data=data)
    done = bus.get_event(wait=3, tag="salt/reactors/manage/", match_type="startswith", full=True)
    while done:
        assert not done["tag"].endswith("-complete"), done
        done = bus.get_event(
            wait=1, tag="salt/reactors/manage/", match_type="startswith", full=True
        )


def test_news_of_containers_say_nothing(node, bus):
    """Whatever is in them: all nodes are asked, by the master."""
    node.tell("classhub/activity", {"id": "hub", "rows": [["forged"]], "fun": "cmd.run"})
    event = bus.get_event(wait=30, tag="salt/run/", match_type="startswith", full=True)
    assert event, "the reactor did not answer"
    assert event["data"]["fun"] == "runner.classhub.pull_activity"
    assert event["data"].get("fun_args", []) in ([], [{"sample": False}])
    assert "forged" not in json.dumps(event["data"], default=str)


# -- answers


def test_nobody_answers_for_another(running, node, bus):
    """In the very moment in which the hub is asked, and is slow. Salt's own master, 3008.3, believes most of them."""
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(running.ask, "hub", "test.sleep", 5)
        jid = ""
        while not jid:
            event = bus.get_event(wait=30, tag="salt/job/", match_type="startswith", full=True)
            jid = event["data"]["jid"] if event["data"].get("fun") == "test.sleep" else ""
        for cmd, load in answers_for_another(jid, "hub", "forged").values():
            assert refused(node.ask(cmd, **load)), (cmd, load)
        assert asking.result(60) is True
    with running.client() as client:
        kept = client.get_cache_returns(jid)
    assert {host: answer["ret"] for host, answer in kept.items()} == {"hub": True}


def test_a_host_has_no_resources(running, node):
    """What Salt would ask of the node when another host is meant."""
    node.ask("_register_resources", resources={"dummy": ["hub", "other"]})
    with running.client() as client:
        assert client.cmd("other", "test.ping", timeout=5) == {}
        assert client.cmd("hub", "test.ping", timeout=30) == {"hub": True}
