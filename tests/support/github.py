"""A GitHub of one's own: its pages and endpoints for signing in, and whatever can be wrong with them.

As documented: https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps
"""

import base64
import hashlib
import http.server
import json
import secrets
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

CLIENT, SECRET = "Iv1.example", "not-a-secret"


class GitHub:
    """What it knows, and how it behaves.

    Attributes:
        url: where it answers
        who: login of whoever sits at the browser, signed in there
        accounts: login -> number of the account
        denies: who sits at the browser does not consent
        secret: of the class's registration
        says: path -> (status, answer) in place of the right one
        silent: set: it answers; not set: it waits until it is
        tokens: token -> login; every token that was given out
        asked: paths
        leave: be gone from the network
    """

    def __init__(self, callback: str) -> None:
        self.callback = callback
        self.url = ""
        self.leave = lambda: None
        self.who = ""
        self.accounts: dict[str, int] = {}
        self.reset()
        self.codes: dict[str, tuple[str, str]] = {}
        self.tokens: dict[str, str] = {}
        self.asked: list[str] = []

    def reset(self) -> None:
        self.denies, self.secret = False, SECRET
        self.says: dict[str, tuple[int, object]] = {}
        self.awake = threading.Event()
        self.awake.set()

    def consent(self, query: dict[str, str]) -> tuple[int, str]:
        """Where the browser is sent from the page that asks for consent."""
        known = query["client_id"] == CLIENT and query["redirect_uri"] == self.callback
        if not known or query["code_challenge_method"] != "S256":
            return 404, ""
        if self.denies:
            told = "The user has denied your application access."
            back = {"error": "access_denied", "error_description": told}
        else:
            code = secrets.token_hex(10)
            self.codes[code] = (self.who, query["code_challenge"])
            back = {"code": code}
        return 302, f"{self.callback}?{urlencode(back | {'state': query['state']})}"

    def token(self, sent: dict[str, str]) -> dict[str, str]:
        if (sent["client_id"], sent["client_secret"]) != (CLIENT, self.secret):
            return {"error": "incorrect_client_credentials"}
        login, challenge = self.codes.pop(sent["code"], ("", ""))
        digest = hashlib.sha256(sent["code_verifier"].encode()).digest()
        if not login or base64.urlsafe_b64encode(digest).decode().rstrip("=") != challenge:
            told = "The code passed is incorrect or expired."
            return {"error": "bad_verification_code", "error_description": told}
        token = f"gho-{secrets.token_hex(10)}"
        self.tokens[token] = login
        return {"access_token": token, "token_type": "bearer", "scope": ""}

    def user(self, token: str) -> tuple[int, dict]:
        if token not in self.tokens:
            return 401, {"message": "Bad credentials"}
        login = self.tokens[token]
        return 200, {"login": login, "id": self.accounts[login], "name": None, "email": None}


class Handler(http.server.BaseHTTPRequestHandler):
    site: GitHub

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/login/oauth/authorize":
            status, where = self.site.consent(dict(parse_qsl(parts.query)))
            self.answer(status, {}, where)
        elif parts.path == "/api/v3/user":
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            self.answer(*self.site.user(token))
        else:
            self.answer(404, {"message": "Not Found"})

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path != "/login/oauth/access_token":
            self.answer(404, {"message": "Not Found"})
        else:
            self.answer(200, self.site.token(dict(parse_qsl(sent))))

    def answer(self, status: int, content: object, where: str = "") -> None:
        path = urlsplit(self.path).path
        self.site.asked.append(path)
        self.site.awake.wait(60)
        status, content = self.site.says.get(path, (status, content))
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        if where:
            self.send_header("Location", where)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        pass  # a hub that waits no longer


@contextmanager
def running(
    callback: str, certificate: Path | None = None, address: str = "127.0.0.1"
) -> Iterator[GitHub]:
    """A GitHub on a free port of this machine.

    Args:
        callback: where the class is registered to be called back
        certificate: PEM of certificate and key for localhost; https then
        address: of this machine
    """
    site = GitHub(callback)
    server = Server((address, 0), type("Handler", (Handler,), {"site": site}))
    site.url = f"http://{address}:{server.server_port}"
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        site.url = f"https://localhost:{server.server_port}"

    def leave() -> None:
        site.awake.set()
        server.shutdown()
        server.server_close()

    site.leave = leave
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield site
    finally:
        leave()
