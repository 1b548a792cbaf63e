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

from tests.support import loading
from tests.support.taken_over import (
    CLAIMS,
    COMMANDS,
    IDS,
    PATHS,
    REQUESTS,
    WITHOUT_A_KEY,
    Minion,
    refused,
)

pytestmark = pytest.mark.slow

ask, sign = (getattr(loading.load("utils", "classhub_signed"), name) for name in ("ask", "sign"))
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
        node.tell("salt/minion/hub/start", {"id": ident, "cmd": "_minion_event"})
    node.tell("salt/minion/proxy/start", {"id": "proxy", "tgt": "*", "fun": "cmd.run"})
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


# -- what classhub asks, and what Salt 3008.3 lets through: told in docs/explanation/security.md


@pytest.mark.parametrize("way", ["resource", "syndic"])
def test_a_node_can_answer_in_anothers_name(running, node, way):
    """Who fixes this may turn the test round, and take the line off the page."""
    with running.client() as client:
        jid = client.run_job("hub", "test.sleep", [3])["jid"]
        if way == "resource":
            node.ask(
                "_return", jid=jid, fun="test.sleep", resource_id="hub", **{"return": "forged"}
            )
        else:
            node.ask("_syndic_return", jid=jid, **{"return": {"hub": {"return": "forged"}}})
        assert client.get_cache_returns(jid)["hub"]["ret"] == "forged"


@pytest.mark.parametrize("way", ["resource", "syndic", "resource with a signature of one's own"])
def test_an_answer_to_classhub_has_to_be_signed(with_modules, node, bus, way):
    """In the very moment in which the hub is asked, and is slow."""
    opts = with_modules.master.config
    asking = ThreadPoolExecutor(1).submit(ask, opts, ["hub"], "test.sleep", [5], tgt_type="list")
    event = bus.get_event(wait=30, tag="salt/job/", match_type="startswith", full=True)
    while event["data"].get("fun") != "classhub_signed.answer":
        event = bus.get_event(wait=30, tag="salt/job/", match_type="startswith", full=True)
    jid, nonce = event["data"]["jid"], event["data"]["arg"][0]
    said = sign(node.opts, nonce, "forged", 0) if "signature" in way else "forged"
    if way == "syndic":
        node.ask("_syndic_return", jid=jid, **{"return": {"hub": {"return": said, "retcode": 0}}})
    else:
        returned = {"fun": "classhub_signed.answer", "resource_id": "hub", "retcode": 0}
        node.ask("_return", jid=jid, **returned, **{"return": said})
    answer = asking.result(60)["hub"]
    assert answer["ret"] is True or "not signed by it" in answer["ret"], answer
    with with_modules.client() as client:  # the control: Salt itself believes it
        assert client.get_cache_returns(jid)["hub"]["ret"] == said


def test_what_is_signed_is_told(with_modules):
    opts = with_modules.master.config
    answers = ask(
        opts, ["hub", "node1"], "test.kwarg", [], {"words": {1: [None, "x"]}}, tgt_type="list"
    )
    assert answers.keys() == {"hub", "node1"}
    assert answers["hub"]["ret"]["words"] == {1: [None, "x"]}
    assert ask(opts, ["hub"], "test.retcode", [3], tgt_type="list")["hub"] == {
        "ret": True,
        "retcode": 3,
    }
    (failed,) = ask(
        opts, ["hub"], "test.raise_exception", [], {"name": "OSError"}, tgt_type="list"
    ).values()
    assert failed["retcode"] == 1
    assert "OSError" in failed["ret"]
    (absent,) = ask(opts, ["hub"], "classhub.no_such", tgt_type="list").values()
    assert absent == {"ret": "ERROR: 'classhub.no_such' is not available.", "retcode": 1}
