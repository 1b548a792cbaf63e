"""One host's checks: what is a fault, what a doubt, and that none ends the others."""

import http.server
import os
import socket
import sqlite3
import ssl
import threading
import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load


@pytest.fixture
def doctor():
    module = load("modules", "classhub_doctor")
    module.__pillar__ = {"classhub": {"roles": ["hub"], "faults": [], "people": []}}
    module.__grains__ = {"id": "hub", "saltversion": "3008.3"}
    module.__salt__ = {"classhub_filesystem.marker": lambda: "one"}
    module.__utils__ = {"classhub_doctor.finding": load("utils", "classhub_doctor").finding}
    return module


def made(doctor, act):
    return doctor._made(doctor._Check("disk", ("hub",), act, "make room on {host}"))


def test_what_a_check_raises_is_its_result(doctor):
    def fails():
        raise CommandExecutionError("it is full")

    def doubts():
        raise doctor._Doubt("it is nearly full")

    def breaks():
        raise ZeroDivisionError

    assert made(doctor, lambda: "fine") == {
        "check": "disk",
        "result": "ok",
        "told": "fine",
        "todo": "",
    }
    for act, result, told in [
        (fails, "failed", "it is full"),
        (doubts, "warning", "it is nearly full"),
        (breaks, "failed", "ZeroDivisionError"),
    ]:
        found = made(doctor, act)
        assert (found["result"], found["told"], found["todo"]) == (
            result,
            told,
            "make room on hub",
        )


@pytest.mark.parametrize(
    ("free", "inodes", "result"),
    [(50, 50, "ok"), (9, 50, "warning"), (1, 50, "failed"), (50, 1, "failed"), (50, 9, "warning")],
)
def test_disk(doctor, monkeypatch, free, inodes, result):
    found = os.statvfs_result((4096, 4096, 100, free, free, 100, inodes, inodes, 0, 255))
    monkeypatch.setattr(doctor.os, "statvfs", lambda place: found)
    assert made(doctor, doctor._disk)["result"] == result


def test_a_filesystem_without_inodes_is_judged_by_its_space(doctor, monkeypatch):
    found = os.statvfs_result((4096, 4096, 100, 50, 50, 0, 0, 0, 0, 255))
    monkeypatch.setattr(doctor.os, "statvfs", lambda place: found)
    assert made(doctor, doctor._disk)["result"] == "ok"


@pytest.mark.parametrize("code", [124, 137, -9])
def test_what_hangs_is_told(doctor, code):
    doctor.__salt__["cmd.run_all"] = lambda *args, **kwargs: {
        "retcode": code,
        "stdout": "",
        "stderr": "",
    }
    found = made(doctor, doctor._firewall)
    assert found["result"] == "failed"
    assert "hangs" in found["told"]


def test_databases(doctor, monkeypatch, tmp_path):
    whole, damaged = tmp_path / "whole.db", tmp_path / "damaged.db"
    with sqlite3.connect(whole) as base:
        base.execute("create table t (x)")
        base.executemany("insert into t values (?)", [("x" * 100,)] * 1000)
    base.close()
    data = bytearray(whole.read_bytes())
    data[8192:12288] = os.urandom(4096)
    damaged.write_bytes(data)
    missing = tmp_path / "missing.db"
    monkeypatch.setattr(doctor, "_DATABASES", {str(whole): "one", str(missing): "another"})
    assert made(doctor, doctor._databases)["told"] == "one: sound"
    assert not missing.exists()
    monkeypatch.setattr(doctor, "_DATABASES", {str(damaged): "one"})
    found = made(doctor, doctor._databases)
    assert found["result"] == "failed"
    assert str(damaged) in found["told"]


class SignIn(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def front(tmp_path, doctor, monkeypatch):
    """The front door, and what is said of its certificate."""
    certificates = load("utils", "classhub_certificate")
    issued = certificates.issue(certificates.authority(), "class.test")
    (tmp_path / "front.pem").write_text(issued)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "front.pem")
    with http.server.HTTPServer(("127.0.0.1", 0), SignIn) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        connect, port = socket.create_connection, server.server_port
        monkeypatch.setattr(
            doctor.socket,
            "create_connection",
            lambda address, timeout: connect((address[0], port), timeout),
        )
        yield certificates.described(issued)
        server.shutdown()
        thread.join()


def test_a_certificate_that_nginx_does_not_show_yet(doctor, front):
    """The file is judged by a check of its own; browsers get what nginx read."""
    doctor.__pillar__["classhub"]["domain"] = "class.test"
    doctor.__salt__["classhub_certificate.shown"] = lambda: front
    assert made(doctor, doctor._page)["result"] == "ok"
    front["fingerprint"] = "00:" + front["fingerprint"][3:]
    found = made(doctor, doctor._page)
    assert found["result"] == "failed"
    assert "systemctl reload nginx-container" in found["told"]


def test_a_server_that_the_hub_does_not_know(doctor, monkeypatch):
    """Nobody stops it. A young one may have begun after the hub was asked; the hub tells 200 at once."""
    pages = [
        {"items": [{"name": "ada"}], "_pagination": {"next": {"offset": 200}}},
        {"items": [{"name": "bob"}], "_pagination": {"next": None}},
    ]
    queries = []
    monkeypatch.setattr(
        doctor, "_asked", lambda path, key: queries.append(path) or pages["offset=200" in path]
    )
    doctor.__pillar__["classhub"]["server"] = {"start_timeout": 120}
    begun = {"ada": 0.0, "bob": 0.0, "cleo": time.time() - 60}
    doctor.__salt__["classhub_swarm.begun"] = lambda: begun
    assert made(doctor, doctor._servers)["told"] == "the hub knows all of 3"
    assert ["state=active" in query for query in queries] == [True, True]
    begun["cleo"] -= 120
    found = made(doctor, doctor._servers)
    assert (found["result"], found["told"]) == (
        "failed",
        "the hub knows nothing of the server of cleo",
    )


def test_nodes(doctor):
    doctor.__pillar__["classhub"]["nodes"] = {"node1": "10.0.0.1", "node2": "10.0.0.2"}
    member = {"node": True, "state": "ready", "availability": "active"}
    members = [member | {"host": "node1"}, member | {"host": "node2"}]
    doctor.__salt__["classhub_swarm.nodes"] = lambda: members
    assert made(doctor, doctor._nodes)["told"] == "2 are ready"
    members[1]["availability"] = "pause"
    assert made(doctor, doctor._nodes)["result"] == "warning"
    members[1]["state"] = "down"
    assert "node2" in made(doctor, doctor._nodes)["told"]
    members.pop()
    assert made(doctor, doctor._nodes)["result"] == "failed"


def test_backup(doctor):
    settings = doctor.__pillar__["classhub"]
    settings["backup"] = {"repository": ""}
    assert made(doctor, doctor._backup)["result"] == "warning"
    settings["backup"]["repository"] = "/mnt/backup"
    told = {
        "table": {"backup": "skipped: has not run yet", "drill": "done: now"},
        "summary": {"snapshots": []},
    }
    doctor.__salt__["classhub.snapshots"] = lambda: told
    assert made(doctor, doctor._backup)["result"] == "warning"
    told = {"table": {"backup": "done: now", "drill": "done: now"}, "summary": {"snapshots": ["a"]}}
    doctor.__salt__["classhub.snapshots"] = lambda: told
    assert made(doctor, doctor._backup)["told"] == "1 snapshots, and nothing is overdue"
    told["table"]["drill"] = "failed: a file differs"
    found = made(doctor, doctor._backup)
    assert (found["result"], found["told"]) == ("failed", "drill failed: a file differs")
