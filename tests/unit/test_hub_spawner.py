"""The spawner against a Swarm in memory: what a student gets, and what is left behind."""

import asyncio
import json
import logging
import pwd
import time

import pytest
from requests.exceptions import ConnectionError as NoConnection

from tests.support.hub import ACCOUNT, FakeSwarm, make_spawner, refusal  # isort: skip

from dockerspawner import SwarmSpawner

from classhub import tasks
from classhub.tasks import ServerError

NAME = "jupyter-alice"


@pytest.fixture
def swarm():
    return FakeSwarm()


@pytest.fixture
def spawner(swarm, tmp_path, monkeypatch):
    spawner = make_spawner(swarm, tmp_path)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: ACCOUNT)
    monkeypatch.setattr(SwarmSpawner, "get_env", lambda self: {"JUPYTERHUB_API_TOKEN": "t"})
    monkeypatch.setattr(type(spawner), "get_args", lambda self: [])

    async def answers(self, address, port):
        return True

    monkeypatch.setattr(type(spawner), "answers", answers)
    spawner._start_pending = True
    return spawner


@pytest.fixture
def no_pause(monkeypatch):
    """Retries come at once."""
    real = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: real(min(seconds, 0.01)))


def refused(spawner) -> ServerError:
    with pytest.raises(ServerError) as caught:
        asyncio.run(spawner.start())
    assert caught.value.jupyterhub_message == caught.value.message
    return caught.value


def test_start_returns_node_and_port(spawner, swarm):
    assert asyncio.run(spawner.start()) == ("10.0.0.7", 32768)
    assert spawner.object_id in swarm.services


@pytest.mark.parametrize("state", [None, {}, {"uid": 20001, "role": "student"}])
def test_start_with_the_uid_of_the_sign_in_or_without_any(spawner, state):
    asyncio.run(spawner.run_auth_state_hook(state))
    assert asyncio.run(spawner.start()) == ("10.0.0.7", 32768)


def test_account_that_has_another_uid_than_at_the_sign_in(spawner, swarm):
    asyncio.run(spawner.run_auth_state_hook({"uid": 20999, "role": "student"}))
    error = refused(spawner)
    assert error.message.startswith("alice is not the account any more that you signed in to.")
    assert "20999" in error.log_message
    assert "20999" not in error.message
    assert not swarm.services


def test_service_is_fenced_in(spawner, swarm):
    asyncio.run(spawner.start())
    spec = swarm.services[spawner.object_id]["spec"]
    task = spec["task_template"]
    container = task["ContainerSpec"]
    assert spec["name"] == NAME
    assert spec["labels"] == {"classhub.user": "alice", "classhub.course": "intro"}
    assert container["Image"] == "sha256:abc"
    assert container["User"] == "20001:20001"
    assert container["CapabilityDrop"] == ["ALL"]
    assert container["ReadOnly"] is True
    here, there = "/home/.classhub/exchange/intro", "/srv/nbgrader/exchange/intro"
    mounts = {m["Target"]: (m.get("Source"), m.get("ReadOnly", False)) for m in container["Mounts"]}
    assert mounts == {
        "/home/alice": ("/home/alice", False),
        "/var/lib/extrausers": ("/home/.nss/alice", True),
        "/tmp": (None, False),
        "/srv/nbgrader/exchange": (None, False),
        f"{there}/outbound": (f"{here}/outbound", True),
        f"{there}/inbound": (f"{here}/students/alice/inbound", False),
        f"{there}/feedback": (f"{here}/students/alice/feedback", True),
    }
    assert task["Resources"]["Limits"] == {"MemoryBytes": 2**30, "Pids": 512}
    assert task["Resources"]["Reservations"] == {"MemoryBytes": 2**29}
    assert task["RestartPolicy"]["Condition"] == "none"
    assert spec["endpoint_spec"]["Ports"][0]["PublishMode"] == "host"
    env = dict(line.split("=", 1) for line in container["Env"])
    assert env["HOME"] == "/home/alice"
    assert env["USER"] == "alice"


def disk(tmp_path, **state) -> None:
    person = {"used": 30 << 20, "soft": 20 << 20, "hard": 40 << 20, "files": 5, "files_soft": 0}
    person |= {"files_hard": 0, "over": True, "until": 0, "until_shown": ""}
    known = {"at": time.time(), "size": 10 << 30, "free": 5 << 30, "people": {"alice": person}}
    (tmp_path / "disk.json").write_text(json.dumps(known | state), encoding="utf-8")


@pytest.mark.parametrize("full", [{}, {"free": 0, "people": {}}])
def test_a_full_home_is_told_and_stops_nobody(spawner, tmp_path, full):
    spawner.disk_file = str(tmp_path / "disk.json")
    disk(tmp_path, **full)
    assert asyncio.run(spawner.start()) == ("10.0.0.7", 32768)
    told = "The disk with everybody's homes is full" if full else "You have 30.0 MiB in your home"
    assert spawner._notes[0].startswith(told)

    shown = asyncio.run(anext(spawner.progress()))
    assert shown["message"].startswith(told)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"at": 1e12}'])
def test_a_disk_of_which_nothing_is_known_is_no_matter(spawner, tmp_path, content):
    spawner.disk_file = str(tmp_path / "disk.json")
    if content is not None:
        (tmp_path / "disk.json").write_text(content)
    assert asyncio.run(spawner.start()) == ("10.0.0.7", 32768)
    assert spawner._notes[0] == "Looking for a node with room"


def test_image_is_read_at_each_start(spawner, swarm, tmp_path):
    asyncio.run(spawner.start())
    asyncio.run(spawner.stop())
    (tmp_path / "image.json").write_text(json.dumps({"image": "sha256:new"}), encoding="utf-8")
    asyncio.run(spawner.start())
    spec = swarm.services[spawner.object_id]["spec"]
    assert spec["task_template"]["ContainerSpec"]["Image"] == "sha256:new"
    assert spawner.object_name == NAME


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_no_image_yet(spawner, swarm, tmp_path, content):
    file = tmp_path / "image.json"
    file.unlink() if content is None else file.write_text(content, encoding="utf-8")
    assert refused(spawner).message == tasks.NO_IMAGE_YET
    assert not swarm.calls


def test_no_account(spawner, swarm, monkeypatch):
    def missing(name):
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", missing)
    assert "no account for alice" in refused(spawner).message
    assert not swarm.calls


@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (999, 20001), (20001, 0), (20001, 999)])
def test_system_accounts_are_refused(spawner, swarm, monkeypatch, uid, gid):
    account = pwd.struct_passwd(("alice", "x", uid, gid, "", "/", ""))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: account)
    assert refused(spawner).reason == "system-account"
    assert not swarm.calls


def test_named_servers_do_not_collide(spawner, monkeypatch):
    monkeypatch.setattr(type(spawner), "name", "second")
    assert spawner._object_name_default() == "jupyter-alice--second"


def stuck(state: str, error: str, node: str = "", desired: str = "running"):
    """A new task that does not become a server."""

    def change(task):
        task |= {"NodeID": node, "DesiredState": desired, "Status": {"State": state, "Err": error}}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (stuck("pending", "no suitable node (insufficient resources on 2 nodes)"), tasks.FULL),
        (stuck("pending", "no suitable node (1 node not available)"), tasks.NO_NODE),
        (stuck("rejected", "No such image: sha256:abc", "n1"), tasks.NO_IMAGE),
        (stuck("rejected", "bind source path does not exist: /home/alice", "n1"), tasks.NO_HOME),
        (stuck("starting", "", "n1", desired="shutdown"), tasks.NODE_LOST),
    ],
)
def test_refusals_in_words(spawner, swarm, change, message):
    swarm.on_create = change
    error = refused(spawner)
    assert error.message == message
    assert swarm.tasks == {} or "pending" in error.log_message  # the hub stops a pending one


def lacking(swarm, *nodes):
    """Nodes without the image, among n1, n2 and n3; tasks go to the first node that the constraints allow."""
    for number, node in enumerate(("n1", "n2", "n3")):
        swarm.nodes[node] = {"Status": {"State": "ready", "Addr": f"10.0.0.{7 + number}"}}
    asked = []

    def place(task):
        (service,) = swarm.services.values()
        constraints = service["spec"]["task_template"]["Placement"]["Constraints"]
        asked.append(constraints)
        fit = [node for node in swarm.nodes if f"node.id!={node}" not in constraints]
        if not fit:
            unsatisfied = "no suitable node (scheduling constraints not satisfied on 3 nodes)"
            task |= {"NodeID": "", "Status": {"State": "pending", "Err": unsatisfied}}
        elif fit[0] in nodes:
            error = {"State": "rejected", "Err": "No such image: sha256:abc"}
            task |= {"NodeID": fit[0], "Status": error}
        else:
            task["NodeID"] = fit[0]

    swarm.on_create = place
    return asked


def test_node_without_the_image_is_passed_over(spawner, swarm):
    spawner.constraints = ["node.labels.classhub==true"]
    asked = lacking(swarm, "n1", "n2")
    assert asyncio.run(spawner.start()) == ("10.0.0.9", 32768)
    first = "node.labels.classhub==true"
    assert asked == [[first], [first, "node.id!=n1"], [first, "node.id!=n1", "node.id!=n2"]]
    assert list(swarm.services) == [spawner.object_id]


def test_node_that_was_passed_over_is_tried_again_at_the_next_start(spawner, swarm):
    asked = lacking(swarm, "n1")
    assert asyncio.run(spawner.start()) == ("10.0.0.8", 32768)
    asyncio.run(spawner.stop())
    asked.clear()
    lacking(swarm)
    assert asyncio.run(spawner.start()) == ("10.0.0.7", 32768)


def test_image_on_no_node(spawner, swarm):
    """Not "no node can take your server": the staff would look for nodes, not for the image."""
    asked = lacking(swarm, "n1", "n2", "n3")
    error = refused(spawner)
    assert (error.message, error.reason) == (tasks.NO_IMAGE, "no-image")
    assert [len(constraints) for constraints in asked] == [0, 1, 2, 3]


def test_full_nodes_beside_one_without_the_image(spawner, swarm):
    def place(task):
        (service,) = swarm.services.values()
        if service["spec"]["task_template"]["Placement"]["Constraints"]:
            error = (
                "no suitable node (insufficient resources on 1 node; scheduling constraints ...)"
            )
            task |= {"NodeID": "", "Status": {"State": "pending", "Err": error}}
        else:
            task["Status"] = {"State": "rejected", "Err": "No such image: sha256:abc"}

    swarm.on_create = place
    assert refused(spawner).message == tasks.FULL


def test_exit_while_starting_keeps_the_last_words(spawner, swarm, caplog):
    def change(task):
        task["Status"] |= {"State": "failed", "Err": "task: non-zero exit (3)"}
        task["Status"]["ContainerStatus"]["ExitCode"] = 3

    swarm.on_create = change
    swarm.logs = b"Traceback\n[I 2030 JupyterHub] forged \x1b[31m\n"
    spawner.log = logging.getLogger("spawner")
    caplog.set_level("WARNING", "spawner")  # pyproject.toml says ERROR, for Salt's sake
    assert "(exit code 3)" in refused(spawner).message
    assert "\n  | Traceback\n  | [I 2030 JupyterHub] forged [31m" in caplog.text
    assert swarm.services == {}


def test_a_pending_task_that_gets_room_starts(spawner, swarm):
    looks = iter(["pending", "pending"])
    plain = swarm.do_tasks

    def look(filters):
        found = plain(filters)
        if next(looks, None):
            found[0]["Status"] = {"State": "pending", "Err": "no suitable node"}
        return found

    swarm.do_tasks = look
    assert asyncio.run(spawner.start()) == ("10.0.0.7", 32768)


def test_leftover_of_an_older_start_is_removed_first(spawner, swarm):
    old = swarm.add(NAME)
    asyncio.run(spawner.start())
    assert old not in swarm.services
    assert len(swarm.services) == 1


def test_no_second_server_while_the_old_container_runs(spawner, swarm):
    old = swarm.add(NAME)
    swarm.stubborn = True
    assert refused(spawner).message == tasks.STILL_STOPPING
    assert list(swarm.services) == [old]
    assert swarm.services[old]["replicas"] == 0


@pytest.mark.parametrize("node", ["down", "removed"])
def test_leftover_on_a_lost_node_does_not_block(spawner, swarm, node):
    old = swarm.add(NAME)
    swarm.stubborn = True
    swarm.nodes["n2"] = {"Status": {"State": "ready", "Addr": "10.0.0.8"}}
    swarm.on_create = lambda task: task.update(NodeID="n2")
    if node == "down":
        swarm.nodes["n1"]["Status"]["State"] = "down"
    else:
        del swarm.nodes["n1"]
    assert asyncio.run(spawner.start()) == ("10.0.0.8", 32768)
    assert old not in swarm.services


def test_manager_does_not_know_its_own_address(spawner, swarm):
    swarm.nodes["n1"] = {"Status": {"Addr": "0.0.0.0"}, "ManagerStatus": {"Addr": "10.0.0.1:2377"}}
    assert asyncio.run(spawner.start())[0] == "10.0.0.1"


@pytest.mark.usefixtures("no_pause")
def test_engine_away_in_words(spawner, swarm):
    swarm.failures["inspect_service"] = [NoConnection("refused")] * 3
    assert refused(spawner).message == tasks.NO_ENGINE


@pytest.mark.usefixtures("no_pause")
def test_a_hiccup_of_the_engine_is_survived(spawner, swarm):
    swarm.failures["inspect_service"] = [NoConnection("refused")]
    swarm.failures["tasks"] = [refusal(500, "rpc error: deadline"), refusal(503, "no leader")]
    asyncio.run(spawner.start())


def test_creation_is_not_repeated(spawner, swarm):
    swarm.failures["create_service"] = [NoConnection("timeout")]
    assert refused(spawner).message == tasks.NO_ENGINE
    assert swarm.calls.count("create_service") == 1


def test_cancelled_creation_leaves_nothing(spawner, swarm):
    async def story():
        began, go_on = asyncio.Event(), asyncio.Event()
        plain = spawner.docker

        async def slow(method, *args, **kwargs):
            if method == "create_service":
                began.set()
                await go_on.wait()
            return await plain(method, *args, **kwargs)

        spawner.docker = slow
        start = asyncio.ensure_future(spawner.start())
        await began.wait()
        start.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await start

    asyncio.run(story())
    assert "create_service" in swarm.calls
    assert swarm.services == {}


def started(spawner) -> None:
    asyncio.run(spawner.start())
    spawner._start_pending = False


def test_poll_of_a_running_server(spawner):
    started(spawner)
    assert asyncio.run(spawner.poll()) is None


@pytest.mark.parametrize(
    ("state", "desired"),
    [("failed", "running"), ("complete", "shutdown"), ("running", "shutdown")],
    ids=["died", "left", "on a node that is drained or dead"],
)
def test_poll_removes_a_dead_server(spawner, swarm, state, desired):
    started(spawner)
    task = swarm.tasks[spawner.object_id]
    task["DesiredState"], task["Status"]["State"] = desired, state
    assert asyncio.run(spawner.poll()).startswith(state)
    assert swarm.services == {}
    assert asyncio.run(spawner.poll()) == 0


def test_poll_of_a_service_removed_by_hand(spawner, swarm):
    started(spawner)
    swarm.do_remove_service(NAME)
    assert asyncio.run(spawner.poll()) == 0


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("error", [NoConnection("refused"), refusal(500, "rpc error")])
def test_an_engine_that_does_not_answer_kills_no_server(spawner, swarm, error):
    started(spawner)
    swarm.failures["tasks"] = [error] * 3
    assert asyncio.run(spawner.poll()) is None
    assert len(swarm.services) == 1


def test_poll_removes_a_start_that_a_restart_of_the_hub_interrupted(swarm, tmp_path):
    swarm.add(NAME)
    fresh = make_spawner(swarm, tmp_path)
    assert asyncio.run(fresh.poll()) == 0
    assert swarm.services == {}


def test_a_restarted_hub_knows_running_servers(spawner, swarm, tmp_path):
    started(spawner)
    fresh = make_spawner(swarm, tmp_path)
    fresh.load_state(spawner.get_state())
    assert fresh.object_id == spawner.object_id
    assert asyncio.run(fresh.poll()) is None


def test_stop_waits_for_the_container_and_forgets(spawner, swarm):
    started(spawner)
    asyncio.run(spawner.stop())
    assert swarm.services == {}
    assert swarm.calls.index("update_service") < swarm.calls.index("remove_service")
    assert spawner.get_state() == {}


def test_stop_keeps_the_service_of_a_container_that_does_not_stop(spawner, swarm):
    started(spawner)
    swarm.stubborn = True
    asyncio.run(spawner.stop())
    assert [service["replicas"] for service in swarm.services.values()] == [0]


@pytest.mark.usefixtures("no_pause")
def test_stop_while_the_engine_is_away_is_made_up_for(spawner, swarm):
    """JupyterHub forgets the server whatever becomes of its stop."""
    started(spawner)
    old = spawner.object_id
    swarm.failures["inspect_service"] = [NoConnection("refused")] * 7

    async def story():
        await spawner.stop()
        assert spawner.get_state() == {}
        assert old in swarm.services
        swarm.services[old]["name"] = "renamed"  # the student's next server takes the name
        swarm.add(NAME)
        await asyncio.wait(spawner._removals)

    asyncio.run(story())
    assert [service["name"] for service in swarm.services.values()] == [NAME]
    assert spawner._removals == set()


def test_a_service_changed_meanwhile_is_looked_at_again(spawner, swarm):
    started(spawner)
    swarm.failures["update_service"] = [refusal(500, "rpc error: update out of sequence")]
    asyncio.run(spawner.stop())
    assert swarm.services == {}


def test_a_slow_removal_does_not_hit_the_next_service(spawner, swarm):
    started(spawner)
    old = spawner.object_id
    swarm.do_remove_service(old)
    new = swarm.add(NAME)
    assert asyncio.run(spawner.remove_service(old)) is True
    assert list(swarm.services) == [new]
