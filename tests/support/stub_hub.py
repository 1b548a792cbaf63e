"""A hub that speaks JupyterHub's REST API as culling meets it, and the servers behind it, all at one address.

Answers, their limits and their codes are those of JupyterHub 6.1.1 (apihandlers/users.py, base.py) and Jupyter Server
2.21 (api/status, api/kernels, api/terminals). How a server misbehaves is told by its `odd`.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

PAGES = "application/jupyterhub-pagination+json"
PAGE, LARGEST_PAGE = 50, 200
TOKEN = "a-token-for-the-hub"
SCOPES = ("list:users", "read:servers", "delete:servers")


def ago(**time: float) -> datetime:
    """So long ago, and some seconds, which neither an HTTP date nor the minutes of a report tell."""
    return datetime.now(UTC) - timedelta(**time) - timedelta(seconds=20)


def text(time: datetime | None) -> str | None:
    """A time as both JupyterHub and Jupyter Server write it."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z") if time else None


def kernel(state: str = "idle", active: datetime | None = None, **more: Any) -> dict[str, Any]:
    shown = {"id": "k", "name": "python3", "connections": 0, "execution_state": state}
    return shown | {"last_activity": text(active or ago(days=30))} | more


def terminal(active: datetime) -> dict[str, Any]:
    return {"name": "1", "last_activity": text(active)}


@dataclass
class StubServer:
    """A server, running for a month and idle since.

    Attributes:
        active: what the hub takes for its last activity
        own: what it says itself
        odd: how it answers: "", or one of `ODD`
        stops: the status of its DELETE, or "hang"
        skew: how far its clock is ahead
    """

    started: datetime | None = field(default_factory=lambda: ago(days=30))
    active: datetime | None = field(default_factory=lambda: ago(days=30))
    own: datetime | None = field(default_factory=lambda: ago(days=30))
    kernels: list[dict] = field(default_factory=list)
    terminals: list[dict] = field(default_factory=list)
    pending: str | None = None
    ready: bool = True
    odd: str = ""
    stops: int | str = 204
    skew: timedelta = timedelta()
    asked: int = 0
    token: str = "a-token-of-its-own"


ODD = {
    "500": lambda handler: handler.send_error(500),
    "403": lambda handler: handler.send_error(403),
    "302": lambda handler: handler.redirect("/hub/login"),
    "text": lambda handler: handler.finish("<html>"),
    "list": lambda handler: handler.finish("[1, 2]"),
    "deep": lambda handler: handler.finish("[" * 200_000),
    "huge": lambda handler: handler.finish(b" " * (2 << 20)),
    "null": lambda handler: handler.finish('{"last_activity": null}'),
    "never": lambda handler: handler.finish('{"last_activity": "0001-01-01T00:00:00+14:00"}'),
}


class StubHub:
    """The hub.

    Attributes:
        users: username -> server's name -> server
        deleted: keys of the servers that were told to stop, in this order
        tokens: token -> its scopes
        odd: how the hub itself answers a list: "", "hang", "slow", "500" or "bare"
        calls: path -> how often
    """

    def __init__(self) -> None:
        self.users: dict[str, dict[str, StubServer]] = {}
        self.deleted: list[str] = []
        self.tokens = {TOKEN: set(SCOPES)}
        self.odd = ""
        self.calls: dict[str, int] = {}
        self.on_page = lambda offset: None
        self.port = 0

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/hub/api"

    def add(self, user: str, name: str = "", **facts: Any) -> StubServer:
        server = self.users.setdefault(user, {})[name] = StubServer(**facts)
        return server

    # -- what there is; the rest asks these

    def now(self) -> datetime:
        return datetime.now(UTC)

    def names(self) -> list[str]:
        return list(self.users)

    def servers(self, user: str) -> dict[str, StubServer]:
        return self.users.get(user, {})

    def remove(self, user: str, name: str) -> None:
        del self.users[user][name]

    # -- what the API answers

    def model(self, user: str, name: str, server: StubServer) -> dict[str, Any]:
        return {
            "name": name,
            "full_name": f"{user}/{name}",
            "last_activity": text(server.active),
            "started": text(server.started),
            "pending": server.pending,
            "ready": server.ready,
            "stopped": False,
            "url": f"/user/{user}/{name + '/' if name else ''}",
            "user_options": {},
            "progress_url": f"/hub/api/users/{user}/server/progress",
        }

    def listed(self, state: str | None) -> list[str]:
        """Users that a filter lets through, before the page is cut."""
        if state in ("active", "ready"):
            return [user for user in self.names() if self.servers(user)]
        return self.names()

    def user_model(self, user: str, scopes: set[str]) -> dict[str, Any]:
        shown: dict[str, Any] = {"kind": "user", "name": user}
        if "read:servers" in scopes:
            servers = self.servers(user).items()
            shown["servers"] = {name: self.model(user, name, server) for name, server in servers}
        return shown

    def stop(self, user: str, name: str) -> int | str:
        server = self.servers(user).get(name)
        if server is None:
            return 404
        self.deleted.append(f"{user}/{name}" if name else user)
        if server.stops == 204:
            self.remove(user, name)
        return server.stops


class Handler(web.RequestHandler):
    @property
    def hub(self) -> StubHub:
        return self.application.settings["hub"]

    def prepare(self) -> None:
        self.hub.calls[self.request.path] = self.hub.calls.get(self.request.path, 0) + 1

    def scopes(self, needed: str) -> set[str]:
        """Of the token; refused as the hub does if the needed one is not among them."""
        token = self.request.headers.get("Authorization", "").removeprefix("token ")
        scopes = self.hub.tokens.get(token, set())
        if needed not in scopes:
            raise web.HTTPError(403)
        return scopes

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        message = "Forbidden" if status_code == 403 else "Internal Server Error"
        self.finish(json.dumps({"status": status_code, "message": message}))


class Root(Handler):
    def get(self) -> None:
        self.finish(json.dumps({"version": "6.1.1"}))


class Users(Handler):
    async def get(self) -> None:
        scopes = self.scopes("list:users")
        if self.hub.odd in ("hang", "slow"):
            await asyncio.sleep(3600)
        if self.hub.odd == "500":
            raise web.HTTPError(500)
        paged = PAGES in self.request.headers.get("Accept", "")
        offset = int(self.get_argument("offset", "0"))
        limit = int(self.get_argument("limit", str(PAGE if paged else LARGEST_PAGE)))
        limit = max(1, min(limit, LARGEST_PAGE))
        self.hub.on_page(offset)
        state = self.get_argument("state", None)
        names = self.hub.listed(state)
        page = [self.hub.user_model(name, scopes) for name in names[offset : offset + limit]]
        if state == "ready":  # the hub cuts the page first, and then leaves users out
            page = [one for one in page if any(s["ready"] for s in one.get("servers", {}).values())]
        if not paged or self.hub.odd == "bare":
            self.finish(json.dumps(page))
            return
        after = {"offset": offset + limit, "limit": limit}
        url = f"{self.hub.api}/users?limit={limit}&offset={offset + limit}"
        url += f"&state={state}" if state else ""
        following = after | {"url": url} if offset + limit < len(names) else None
        about = {"offset": offset, "limit": limit, "total": len(names), "next": following}
        self.finish(json.dumps({"items": page, "_pagination": about}))


class Stop(Handler):
    async def delete(self, user: str, name: str = "") -> None:
        self.scopes("delete:servers")
        status = self.hub.stop(unquote(user), unquote(name))
        if status == "hang":
            await asyncio.sleep(3600)
        if status >= 400:
            raise web.HTTPError(status)
        self.set_header("Content-Type", "text/plain")
        self.set_status(status)


class Own(Handler):
    """A server's own API."""

    async def get(self, user: str, name: str | None, what: str) -> None:
        server = self.hub.servers(unquote(user)).get(unquote(name or ""))
        if server is None:
            raise web.HTTPError(404)
        server.asked += 1
        self.set_header("Date", _http_date(self.hub.now() + server.skew))
        if self.request.headers.get("Authorization") != f"token {server.token}":
            raise web.HTTPError(403)
        if self.get_argument("no_track_activity", None) is None and what != "status":
            server.own = self.hub.now()
        if server.odd == "hang":
            await asyncio.sleep(3600)
        if server.odd == "drip":
            await self.drip()
        elif server.odd:
            ODD[server.odd](self)
        else:
            self.finish(json.dumps(self.answer(server, what)))

    async def drip(self) -> None:
        self.set_header("Content-Length", "1000000")
        for _ in range(1000):
            self.write(b" ")
            await self.flush()
            await asyncio.sleep(0.05)

    def answer(self, server: StubServer, what: str) -> Any:
        if what == "kernels":
            return server.kernels
        if what == "terminals":
            if server.terminals is None:
                raise web.HTTPError(404)
            return server.terminals
        known = [one["last_activity"] for one in [*server.kernels, *(server.terminals or [])]]
        newest = max([text(server.own + server.skew), *known])
        shown = {"started": text(server.started), "last_activity": newest}
        return shown | {"kernels": len(server.kernels), "connections": 0}


def _http_date(time: datetime) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT")


ROUTES = [
    (r"/hub/api/", Root),
    (r"/hub/api/users", Users),
    (r"/hub/api/users/([^/]+)/server", Stop),
    (r"/hub/api/users/([^/]+)/servers/([^/]+)", Stop),
    (r"/user/([^/]+)/(?:([^/]+)/)?api/(status|kernels|terminals)", Own),
]


@contextmanager
def serving(hub: StubHub) -> Iterator[StubHub]:
    """Serve it from a thread of its own."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()

    async def listen() -> None:
        sock, hub.port = bind_unused_port()
        HTTPServer(web.Application(ROUTES, hub=hub, log_function=lambda _: None)).add_socket(sock)
        ready.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.create_task(listen())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield hub
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
