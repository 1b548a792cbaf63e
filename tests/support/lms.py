"""A platform that launches tools by LTI 1.3, as Canvas and Moodle do, for one person at its page.

https://www.imsglobal.org/spec/security/v1p0/#openid_connect_launch_flow
"""

import html
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

CLIENT = "10000000000001"
CLAIM = "https://purl.imsglobal.org/spec/lti/claim"


class Platform:
    """Where it answers, who sits at the page, and the keys it signs with.

    Attributes:
        hub: address of the tool
        email: of whoever sits at the page
        signs: the key it signs with; `key` is the one that it shows
    """

    def __init__(self, hub: str) -> None:
        self.hub, self.url, self.email = hub, "", ""
        self.key = self.signs = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def settings(self) -> dict:
        """hub:oauth:settings"""
        return {
            "client_id": [CLIENT],
            "issuer": self.url,
            "authorize_url": f"{self.url}/authorize",
            "jwks_endpoint": f"{self.url}/keys",
            "username_key": "email",
            "uri_scheme": "https",
        }

    def page(self, path: str, asked: dict[str, str]) -> tuple[str, str]:
        """Type and content."""
        if path == "/keys":
            key = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
            keys = {"keys": [key | {"kid": "1", "alg": "RS256", "use": "sig"}]}
            return "application/json", json.dumps(keys)
        if path == "/authorize":
            fields = {"id_token": self.token(asked["nonce"]), "state": asked["state"]}
            return "text/html", form(asked["redirect_uri"], fields)
        target = f"{self.hub}/hub/home"
        fields = {"iss": self.url, "login_hint": "7", "target_link_uri": target}
        return "text/html", form(
            f"{self.hub}/hub/lti13/oauth_login", fields | {"client_id": CLIENT}
        )

    def token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "sub": "7",
            "email": self.email,
            f"{CLAIM}/version": "1.3.0",
            f"{CLAIM}/message_type": "LtiResourceLinkRequest",
            f"{CLAIM}/deployment_id": "1",
            f"{CLAIM}/target_link_uri": self.hub,
            f"{CLAIM}/roles": [],
            f"{CLAIM}/resource_link": {"id": "1"},
        }
        return jwt.encode(claims, self.signs, "RS256", headers={"kid": "1"})


def form(where: str, fields: dict[str, str]) -> str:
    """A page that sends itself on."""
    inputs = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}">'
        for name, value in fields.items()
    )
    return (
        f'<form method="post" action="{html.escape(where)}">{inputs}</form>'
        "<script>document.forms[0].submit()</script>"
    )


class Handler(http.server.BaseHTTPRequestHandler):
    platform: Platform

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        kind, text = self.platform.page(parts.path, dict(parse_qsl(parts.query)))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def running(hub: str) -> Iterator[Platform]:
    platform = Platform(hub)
    handler = type("Handler", (Handler,), {"platform": platform})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    platform.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield platform
    finally:
        server.shutdown()
        server.server_close()
