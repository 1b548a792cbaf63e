"""What a student's server says of its kernels, by which idle servers are stopped: the real server with the image's settings."""

import json
import os
import time
import uuid
from pathlib import Path

import pytest

from tests.support.student_server import UID, StudentServer, student_server
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a disk"),
]
SILENT = "import time\ntime.sleep(600)"


class Page:
    """A notebook's page, with its kernel."""

    def __init__(self, server: StudentServer) -> None:
        self.server = server
        self.kernel = server.call("POST", "api/kernels").json()["id"]
        self.socket = server.page(f"api/kernels/{self.kernel}/channels")

    def send(self, kind: str, content: dict, channel: str = "shell", **header: str) -> str:
        ident = uuid.uuid4().hex
        header |= {"msg_id": ident, "msg_type": kind, "session": "s", "username": ""}
        message = {"header": header | {"version": "5.3"}, "parent_header": {}, "metadata": {}}
        self.socket.send(json.dumps(message | {"channel": channel, "content": content}))
        return ident

    def ask(self, kind: str, content: dict, channel: str = "shell", **header: str) -> dict:
        """Send a request and wait until it has ended; what was answered."""
        ident, answer, ended = self.send(kind, content, channel, **header), {}, False
        while not ended or not (answer or kind == "comm_msg"):  # which has no answer
            told = json.loads(self.socket.recv())
            if told["parent_header"].get("msg_id") == ident:
                ended = ended or told["content"].get("execution_state") == "idle"
                answer = told["content"] if told["msg_type"].endswith("_reply") else answer
        return answer

    def compute(self) -> None:
        self.send("execute_request", {"code": SILENT, "silent": False})
        wait_until("it computes", lambda: self.state() == "busy", 60)

    def state(self) -> str:
        shown = self.server.call("GET", f"api/kernels/{self.kernel}?no_track_activity=1")
        return shown.json()["execution_state"]

    def rests(self) -> bool:
        return self.state() in ("idle", "starting")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    top = tmp_path_factory.mktemp("alice")
    home: Path = top / "homes" / "alice"
    home.mkdir(parents=True)
    os.chown(home, UID, UID)
    with student_server(top) as made:
        yield made


@pytest.fixture
def page(server):
    made = Page(server)
    made.ask("kernel_info_request", {})
    yield made
    made.socket.close()
    server.call("DELETE", f"api/kernels/{made.kernel}")


def widget(page: Page) -> None:
    """What JupyterLab sends for a widget that a cell shows: a subshell of its own, and messages there."""
    subshell = page.ask("create_subshell_request", {}, "control")["subshell_id"]
    page.ask("comm_msg", {"comm_id": "x", "data": {}}, subshell_id=subshell)


def test_a_cell_that_shows_a_widget_and_computes_is_busy(page):
    page.compute()
    widget(page)
    time.sleep(0.5)
    assert page.state() == "busy"
    page.server.call("POST", f"api/kernels/{page.kernel}/interrupt")
    wait_until("it rests", page.rests, 30)


def test_a_kernel_rests_after_a_cell_that_was_aborted(page):
    page.compute()
    page.send("execute_request", {"code": "1", "silent": False})
    page.server.call("POST", f"api/kernels/{page.kernel}/interrupt")
    wait_until("it rests", page.rests, 30)


def test_a_kernel_that_was_restarted_rests(page):
    page.compute()
    page.server.call("POST", f"api/kernels/{page.kernel}/restart")
    wait_until("it rests", page.rests, 30)


def test_a_kernel_that_died_rests_also_without_a_page(page):
    page.send("execute_request", {"code": "import os, time\ntime.sleep(2)\nos._exit(1)"})
    wait_until("it computes", lambda: page.state() == "busy", 60)
    page.socket.close()
    wait_until("it is started again, and rests", page.rests, 60)
