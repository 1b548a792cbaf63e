"""Root on a node of the lab, with the key of its own minion, at the class's master (docs/explanation/security.md)."""

import inspect
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import salt.config
from salt.utils.event import SaltEvent, get_event

from tests.lab import journey
from tests.support import lab, taken_over
from tests.support.taken_over import refused

MASTER = "10.77.0.1"
OTHER_KEY = f"""
import tempfile
import salt.config, salt.crypt
with tempfile.TemporaryDirectory() as keys:
    opts = salt.config.minion_config("/etc/salt/minion")
    opts |= {{"id": "hub", "pki_dir": keys, "auth_tries": 1, "master_uri": "tcp://{MASTER}:4506"}}
    try:
        print("signed in:", salt.crypt.SAuth(opts).sign_in(timeout=15, safe=False, tries=1))
    except (Exception, SystemExit) as error:
        print("refused:", type(error).__name__)
"""


def asked(*requests: tuple) -> list[Any]:
    """Answers of the master to node1: of (cmd, what goes with it), of a request without key ("", all of it)."""
    said = [("ask", [cmd], load) if cmd else ("shout", [], load) for cmd, load in requests]
    program = ["/opt/salt/bin/python3", "-c", inspect.getsource(taken_over)]
    answers = lab.on("node1", *program, f"tcp://{MASTER}:4506", json.dumps(said), timeout=600)
    return json.loads(answers)


def happened(tag: str, data: dict[str, Any]) -> None:
    asked(("_minion_event", {"events": [{"tag": tag, "data": data}]}))


def pillar(claims: dict[str, Any]) -> tuple:
    whole = {"saltenv": "base", "pillarenv": None, "grains": {"id": "node1"}}
    return "_pillar", whole | claims | {"key": "pillar"}


@pytest.fixture
def opts(site) -> dict[str, Any]:
    return salt.config.master_config(str(lab.ROOT / ".lab" / "etc" / "master"))


@pytest.fixture
def bus(opts) -> Iterator[SaltEvent]:
    """The master's event bus."""
    with get_event("master", sock_dir=opts["sock_dir"], opts=opts, listen=True) as bus:
        yield bus


def until(bus: SaltEvent, prefix: str, is_last: Callable[[dict], bool]) -> list[dict]:
    """Events that begin with a tag, up to the last."""
    seen, deadline = [], time.monotonic() + 90
    while time.monotonic() < deadline:
        event = bus.get_event(wait=5, tag=prefix, match_type="startswith", full=True)
        if event:
            seen.append(event)
            if is_last(event):
                return seen
    raise AssertionError(f"not seen; but {seen}")


def test_another_hosts_secrets(site):
    """Each claim of taken_over.CLAIMS; without any the node gets what is its own."""
    own, *others = asked(pillar({}), *[pillar(claims) for claims in taken_over.CLAIMS.values()])
    assert own["classhub"]["roles"] == ["node"], "the control"
    secrets = lab.shell("hub", "cut -d = -f 2- /etc/jupyterhub/secrets.env").split()
    assert secrets
    for name, answer in zip(taken_over.CLAIMS, others, strict=True):
        told = json.dumps(answer)
        private = [*secrets, '"lab_password": "lab"', "ada@class.test"]
        assert not [word for word in private if word in told], name


def test_requests_in_the_hubs_name(site):
    requests = [
        (cmd, {**load, "claimed": "hub", "version": version})
        for cmd, load in taken_over.REQUESTS.items()
        for version in (3, 1)
    ]
    for request, answer in zip(requests, asked(*requests), strict=True):
        assert refused(answer), (request, answer)
    assert lab.salt("hub", "test.ping") == {"hub": True}


def test_another_key_for_the_hub(site):
    assert lab.on("node1", "/opt/salt/bin/python3", "-c", OTHER_KEY).startswith("refused:")
    assert lab.salt("hub", "test.ping") == {"hub": True}


def test_what_is_published_for_others(site):
    readers = {"classhub_images": "hub", "classhub_hub_authorities": "proxy"}
    for function, reader in readers.items():
        assert lab.salt(reader, "mine.get", "*", function)[reader], "the control"
        targets = {"glob": "*", "list": ["hub", "node1", "node2"], "pcre": ".*"}
        answers = asked(
            *[
                ("_mine_get", {"tgt": target, "fun": function, "tgt_type": kind})
                for kind, target in targets.items()
            ]
        )
        # its own it may see
        assert not [answer for answer in answers if set(answer or ()) - {"node1"}], answers


def test_files_of_the_master(site):
    found = [("_serve_file", {"path": "top.sls", "saltenv": "base", "loc": 0})]
    found += [
        ("_serve_file", {"path": path, "saltenv": saltenv, "loc": 0})
        for path, saltenv in taken_over.PATHS
    ]
    control, *others = asked(*found)
    assert control["data"]
    for path, answer in zip(taken_over.PATHS, others, strict=True):
        assert not (isinstance(answer, dict) and answer.get("data")), (path, answer)


def test_writing_on_the_master(site, opts):
    paths = [["forged"], ["..", "..", "forged"], "/tmp/classhub-forged"]  # noqa: S108 - not there
    written = [("_file_recv", {"path": path, "loc": 0, "data": "x", "size": 1}) for path in paths]
    assert all(refused(answer) for answer in asked(*written))
    assert opts["file_recv"] is False


def test_commands_for_others(site):
    answers = asked(*taken_over.COMMANDS)
    for command, answer in zip(taken_over.COMMANDS, answers, strict=True):
        assert refused(answer), (command, answer)


def test_requests_without_a_key(site):
    answers = asked(*[("", load) for load in taken_over.WITHOUT_A_KEY])
    for load, answer in zip(taken_over.WITHOUT_A_KEY, answers, strict=True):
        assert refused(answer) or "error" in str(answer), (load, answer)
        assert not [
            word for word in ("minions_pre", "jid", "root:", "token'") if word in str(answer)
        ]


def test_a_forged_start_brings_modules_to_whom_it_names(bus):
    for ident in taken_over.IDS:
        happened("salt/minion/node1/start", {"id": ident, "cmd": "_minion_event"})
    happened("salt/minion/node1/start", {"id": "proxy", "tgt": "*", "fun": "cmd.run"})
    events = until(
        bus,
        "salt/job/",
        lambda event: event["tag"].endswith("/new") and event["data"]["tgt"] == ["proxy"],
    )
    synced = [
        event["data"]
        for event in events
        if event["tag"].endswith("/new") and event["data"]["fun"] == "saltutil.sync_all"
    ]
    assert synced
    assert all(job["tgt"] in (["hub"], ["proxy"]) for job in synced), synced
    assert not [event for event in events if event["data"].get("fun") == "cmd.run"]


def test_the_reactor_is_not_taught(bus):
    for tag in ("salt/reactors/manage/add", "x/salt/reactors/manage/add"):
        happened(tag, {"event": "forged/*", "reactors": ["/etc/passwd"], "key": "", "user": "root"})
    happened("classhub/last", {})
    prefix, last = "", "classhub/last"
    events = until(bus, prefix, lambda event: event["tag"].endswith(last))
    done = [event["tag"] for event in events if event["tag"].endswith("-complete")]
    assert not [tag for tag in done if "reactors" in tag]


def test_an_answer_in_the_hubs_name(site, bus):
    """To `salt`, and so to all that classhub asks; the hub's own is what is told and kept."""
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(lab.salt, "hub", "test.sleep", "15")
        job = until(bus, "salt/job/", lambda event: event["data"].get("fun") == "test.sleep")
        jid = job[-1]["data"]["jid"]
        ways = taken_over.answers_for_another(jid, "hub", "forged")
        for name, answer in zip(ways, asked(*ways.values()), strict=True):
            assert refused(answer), (name, answer)
        assert asking.result(90) == {"hub": True}
    kept = json.loads(lab.run(lab.salt_command("salt-run"), "--out=json", "jobs.lookup_jid", jid))
    assert kept == {"hub": True}


def test_after_all_of_it_a_student_works(quiet, student):
    ada = student("ada")
    journey.start(ada)
    assert ada.kernel().value("6 * 7") == 42
