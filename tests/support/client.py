"""A student at a browser, without the browser: HTTPS, cookies, the spawn page, kernels, terminals.

Everything goes through the class's proxy at its real name, over verified TLS.
"""

import json
import re
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import websocket
from requests.adapters import HTTPAdapter

_ADDRESSES: dict[str, str] = {}
_system_getaddrinfo = socket.getaddrinfo


def _getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    return _system_getaddrinfo(_ADDRESSES.get(host, host), *args, **kwargs)


def resolve(domain: str, address: str) -> None:
    """Make `domain` mean `address` in this process, as the class's DNS entry would."""
    _ADDRESSES[domain] = address
    socket.getaddrinfo = _getaddrinfo


@dataclass(frozen=True)
class Site:
    """Where a class answers."""

    domain: str
    address: str
    certificate: Path  # PEM; the only certificate that is trusted

    def __post_init__(self) -> None:
        resolve(self.domain, self.address)

    @property
    def url(self) -> str:
        return f"https://{self.domain}"

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # no http_proxy of the machine that tests
        session.verify = str(self.certificate)
        session.mount("https://", HTTPAdapter(pool_maxsize=4))
        return session

    def websocket(self, path: str, token: str, timeout: float) -> websocket.WebSocket:
        return websocket.create_connection(
            f"wss://{self.domain}{path}",
            header=[f"Authorization: token {token}"],
            sslopt={"ca_certs": str(self.certificate)},
            http_no_proxy=["*"],
            timeout=timeout,
        )


@dataclass
class Start:
    """How the start of a server ended."""

    ready: bool
    seconds: float
    status: int  # HTTP status of the request that asked for the server
    message: str  # the last thing the student was told
    events: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Output:
    """What a cell gave: its text, and its error when there was one."""

    text: str
    error: str = ""


class KernelDied(Exception):
    """The kernel, or the whole server, went away while a cell ran."""


class Student:
    """One signed-in user of the class; graders and instructors too."""

    def __init__(self, name: str, site: Site, password: str = "lab") -> None:
        self.name = name
        self.site = site
        self.password = password
        self.session = site.session()
        self.token = ""

    # -- signing in ---------------------------------------------------------------------------
    def sign_in(self) -> "Student":
        """Fill in the form, then take an API token."""
        answer = self.send_sign_in_form()
        where = f"{answer.status_code} at {answer.url}"
        assert where == f"200 at {self.hub('home')}", f"{self.name} could not sign in: {where}"
        return self.take_token()

    def take_token(self) -> "Student":
        """An API token of whoever is signed in, as the token page makes one."""
        made = self.session.post(
            self.hub(f"api/users/{self.name}/tokens"),
            headers={"X-XSRFToken": self._xsrf(), "Referer": self.hub("token")},
            json={"note": "test", "expires_in": 7200},
            timeout=30,
        )
        made.raise_for_status()
        self.token = made.json()["token"]
        return self

    def send_sign_in_form(self, patience: float = 120) -> requests.Response:
        """Post the sign-in form; where the proxy says "slow down", do, for `patience` seconds."""
        deadline = time.monotonic() + patience
        while True:
            answer = self.session.get(self.hub("login"), timeout=30)
            if answer.status_code == 200:
                answer = self.session.post(
                    self.hub("login"),
                    params={"next": "/hub/home"},
                    data={
                        "username": self.name,
                        "password": self.password,
                        "_xsrf": self._xsrf(),
                    },
                    timeout=30,
                )
            if answer.status_code != 429 or time.monotonic() > deadline:
                return answer
            time.sleep(5)  # 30 tries a minute: room for the two requests of a sign-in

    def _xsrf(self) -> str:
        token = self.session.cookies.get("_xsrf", domain=self.site.domain, path="/hub/")
        assert token, "the hub set no _xsrf cookie for /hub/"
        return token

    # -- addresses and requests -----------------------------------------------------------------
    def hub(self, path: str) -> str:
        return f"{self.site.url}/hub/{path}"

    def hub_request(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """A request to the hub's API with the token."""
        return self._with_token(method, self.hub(f"api/{path}"), **kwargs)

    def request(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """A request to the student's own server with the token."""
        return self._with_token(method, f"{self.site.url}/user/{self.name}/{path}", **kwargs)

    def page(self, path: str) -> requests.Response:
        """A page as a browser gets it: by cookies alone, redirects followed."""
        return self.session.get(f"{self.site.url}{path}", timeout=60)

    def _with_token(self, method: str, url: str, **kwargs: Any) -> requests.Response:
        kwargs.setdefault("timeout", 60)
        with self.site.session() as session:
            headers = {"Authorization": f"token {self.token}"}
            return session.request(method, url, headers=headers, **kwargs)

    # -- the server -----------------------------------------------------------------------------
    def start(self, timeout: float = 180) -> Start:
        """Ask the hub's API for the server and follow its progress to the end."""
        began = time.monotonic()
        asked = self.hub_request("POST", f"users/{self.name}/server", json={}, timeout=timeout)
        if asked.status_code not in (201, 202):
            message = _message(asked)
            running = asked.status_code == 400 and "already running" in message
            return Start(running, time.monotonic() - began, asked.status_code, message)
        # 201 alone is no proof: after a failed start the hub may look at the spawner before it
        return self._follow(began, asked.status_code, timeout)

    def start_by_page(self, timeout: float = 180) -> Start:
        """Press the button: the spawn page, then the progress stream its script reads."""
        began = time.monotonic()
        page = self.page(f"/hub/spawn/{self.name}")
        return self._follow(began, page.status_code, timeout)

    def _follow(self, began: float, status: int, timeout: float) -> Start:
        events = list(self._progress(began + timeout))
        last = events[-1] if events else {}
        return Start(
            ready=bool(last.get("ready")),
            seconds=time.monotonic() - began,
            status=status,
            message=last.get("message", "the hub said nothing"),
            events=events,
        )

    def _progress(self, deadline: float) -> Iterator[dict[str, Any]]:
        """The events of the hub's progress stream, up to the one that ends it."""
        path = f"users/{self.name}/server/progress"
        with self.hub_request("GET", path, stream=True) as stream:
            if stream.status_code != 200:
                yield {"failed": True, "message": _message(stream)}
                return
            for line in stream.iter_lines():
                if time.monotonic() > deadline:
                    yield {"failed": True, "message": "the test waited no longer"}
                    return
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    yield event
                    if event.get("ready") or event.get("failed"):
                        return

    def server(self) -> dict[str, Any]:
        """The hub's record of the default server; empty when there is none."""
        answer = self.hub_request("GET", f"users/{self.name}")
        answer.raise_for_status()
        return answer.json().get("servers", {}).get("", {})

    def stop(self) -> None:
        """Stop the server and wait until the hub has forgotten it."""
        answer = self.hub_request("DELETE", f"users/{self.name}/server")
        assert answer.status_code in (202, 204, 404), _message(answer)
        deadline = time.monotonic() + 40
        while answer.status_code == 202 and self.server():
            assert time.monotonic() < deadline, f"the server of {self.name} does not stop"
            time.sleep(0.3)

    def answers(self) -> bool:
        """Whether the student's own server answers just now.

        Without a route the hub gets the request and redirects it, more slowly each time: not followed.
        """
        try:
            answer = self.request("GET", "api/status", timeout=3, allow_redirects=False)
            return answer.status_code == 200
        except requests.RequestException:
            return False

    # -- work -----------------------------------------------------------------------------------
    def kernel(self) -> "Kernel":
        made = self.request("POST", "api/kernels", json={"name": "python3"})
        made.raise_for_status()
        return Kernel(self, made.json()["id"])

    def terminal(self) -> "Terminal":
        made = self.request("POST", "api/terminals")
        made.raise_for_status()
        return Terminal(self, made.json()["name"])

    def files(self) -> list[str]:
        """Names in the student's home, by the contents API."""
        answer = self.request("GET", "api/contents/")
        answer.raise_for_status()
        return [entry["name"] for entry in answer.json()["content"]]

    def save(self, path: str, content: Any, kind: str = "file") -> None:
        """Write a file (text) or a notebook (its JSON) by the contents API."""
        model = {"type": kind, "content": content}
        if kind == "file":
            model["format"] = "text"
        self.request("PUT", f"api/contents/{path}", json=model).raise_for_status()


class Kernel:
    """A running kernel. Each cell opens its own websocket, as a reloaded page would."""

    def __init__(self, student: Student, ident: str) -> None:
        self.student = student
        self.id = ident

    def run(self, code: str, timeout: float = 60) -> Output:
        """Run a cell to its end. Raises KernelDied, or TimeoutError after `timeout` seconds."""
        path = f"/user/{self.student.name}/api/kernels/{self.id}/channels"
        connection = self.student.site.websocket(
            f"{path}?session_id={uuid.uuid4().hex}", self.student.token, timeout
        )
        try:
            request = _execute_request(code)
            connection.send(json.dumps(request))
            return _collect(_messages(connection, timeout), request["header"]["msg_id"])
        finally:
            connection.close()

    def begin(self, code: str, timeout: float = 30) -> None:
        """Start a cell and close the page: what it computes goes on."""
        path = f"/user/{self.student.name}/api/kernels/{self.id}/channels"
        connection = self.student.site.websocket(
            f"{path}?session_id={uuid.uuid4().hex}", self.student.token, timeout
        )
        try:
            request = _execute_request(code)
            connection.send(json.dumps(request))
            for message in _messages(connection, timeout):
                own = message.get("parent_header", {}).get("msg_id") == request["header"]["msg_id"]
                if own and message["content"].get("execution_state") == "busy":
                    return
        finally:
            connection.close()

    def value(self, expression: str, timeout: float = 60) -> Any:
        """The value of an expression that JSON can carry."""
        out = self.run(f"import json; print(json.dumps({expression}))", timeout)
        assert not out.error, out.error
        return json.loads(out.text)


class Terminal:
    """A shell in the student's server, over its websocket."""

    def __init__(self, student: Student, name: str) -> None:
        self.student = student
        self.name = name

    def run(self, command: str, timeout: float = 30) -> str:
        """What the terminal shows from sending `command` until the command has ended."""
        path = f"/user/{self.student.name}/terminals/websocket/{self.name}"
        connection = self.student.site.websocket(path, self.student.token, timeout)
        mark = uuid.uuid4().hex
        shown = ""
        try:
            # the mark is typed in two halves, so that the echo of the command is not its end
            typed = f"{command}; printf '%s%s\\n' {mark[:16]} {mark[16:]}\r"
            connection.send(json.dumps(["stdin", typed]))
            for kind, *rest in _messages(connection, timeout):
                if kind == "stdout":
                    shown += rest[0]
                if mark in shown:
                    break
        finally:
            connection.close()
        return shown


class Operator:
    """The class's operator at the hub's API, with the token kept on the hub."""

    def __init__(self, site: Site, token: str) -> None:
        self.site = site
        self.token = token

    def request(self, method: str, path: str) -> requests.Response:
        headers = {"Authorization": f"token {self.token}"}
        with self.site.session() as session:
            return session.request(
                method, f"{self.site.url}/hub/api/{path}", headers=headers, timeout=60
            )

    def hub_is_up(self) -> bool:
        try:
            return self.request("GET", "health").status_code == 200
        except requests.RequestException:
            return False

    def server(self, user: str) -> dict[str, Any]:
        """The hub's record of the user's default server; empty when there is none."""
        answer = self.request("GET", f"users/{user}")
        if answer.status_code == 404:
            return {}  # never signed in
        answer.raise_for_status()
        servers = answer.json().get("servers")
        assert servers is not None, "the operator's token lacks the scope read:servers"
        return servers.get("", {})

    def stop(self, user: str) -> None:
        answer = self.request("DELETE", f"users/{user}/server")
        assert answer.status_code in (202, 204, 400, 404), _message(answer)


def _message(answer: requests.Response) -> str:
    """The sentence in an answer of the hub: its JSON message, or the text of its page."""
    try:
        return str(answer.json().get("message", ""))
    except ValueError:
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)).strip()[:500]


def _execute_request(code: str) -> dict[str, Any]:
    return {
        "header": {
            "msg_id": uuid.uuid4().hex,
            "username": "",
            "session": uuid.uuid4().hex,
            "msg_type": "execute_request",
            "version": "5.3",
            "date": "",
        },
        "parent_header": {},
        "metadata": {},
        "channel": "shell",
        "content": {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        },
    }


def _messages(connection: websocket.WebSocket, timeout: float) -> Iterator[Any]:
    """Decoded messages until `timeout`; TimeoutError then, KernelDied when the line is cut."""
    deadline = time.monotonic() + timeout
    while True:
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            text = connection.recv()
        except websocket.WebSocketTimeoutException:
            raise TimeoutError(f"no end within {timeout:g} s") from None
        except (websocket.WebSocketException, OSError) as error:
            raise KernelDied(f"connection lost: {error}") from error
        if not text:
            raise KernelDied("the server closed the connection")
        yield json.loads(text)
        if time.monotonic() > deadline:
            raise TimeoutError(f"no end within {timeout:g} s")


def _collect(messages: Iterator[Any], request: str) -> Output:
    """Put together what the messages say about one request, up to its end."""
    output = Output("")
    for message in messages:
        kind, content = message["msg_type"], message["content"]
        if kind == "status" and content["execution_state"] in (
            "restarting",
            "autorestarting",
            "dead",
        ):
            raise KernelDied(content["execution_state"])
        if message.get("parent_header", {}).get("msg_id") != request:
            continue
        if kind == "stream":
            output.text += content["text"]
        elif kind in ("execute_result", "display_data"):
            output.text += content["data"].get("text/plain", "")
        elif kind == "error":
            output.error = f"{content['ename']}: {content['evalue']}"
        elif kind == "status" and content["execution_state"] == "idle":
            break
    return output
