"""What the dashboard answers. Who somebody is, and whether that is staff, is the hub's to say."""

import json
import time
from pathlib import Path

import plotly
from jupyterhub.services.auth import HubOAuthCallbackHandler, HubOAuthenticated
from jupyterhub.utils import url_path_join
from tornado import web
from tornado.escape import json_encode

from classhub.dashboard.figures import parts
from classhub.dashboard.metrics import exposed

HERE = Path(__file__).parent
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
DAYS = (1, 7, 28)
OLD = 1200  # seconds after which what is recorded is said to stand still
# plotly.js sets styles of its own, and offers its pictures as data
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Base(web.RequestHandler):
    """What every answer has."""

    def set_default_headers(self) -> None:
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")

    def state(self) -> dict:
        """The class as it is written down.

        Raises:
            HTTPError: it is not, yet.
        """
        try:
            return json.loads(self.settings["state"].read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise web.HTTPError(503, reason="Nothing is recorded yet") from None

    def write_error(self, status_code: int, **kwargs: object) -> None:
        words = {403: "This page is for the course's staff."}.get(status_code, self._reason)
        self.render("error.html", status=status_code, words=words)


class Page(HubOAuthenticated, Base):
    """The page."""

    @web.authenticated
    def get(self) -> None:
        days = self.get_query_argument("days", "7")
        if days not in map(str, DAYS):
            raise web.HTTPError(404)
        state = self.state()
        self.set_header("Cache-Control", "no-store")
        self.render(
            "page.html",
            parts=parts(state, int(days)),
            days=int(days),
            choices=DAYS,
            time=state["time"],
            old=time.time() - state["at"] > OLD,
            encode=lambda text: json_encode(json.loads(text)),
        )


class Table(HubOAuthenticated, Base):
    """What the page is made of, as data."""

    @web.authenticated
    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.write(self.state())


class Metrics(Base):
    """For Prometheus: on the loopback alone, as the hub's proxy leads nowhere but below the service's own prefix."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.write(exposed(self.state()))


class Asset(web.StaticFileHandler):
    """A script or a style, for everybody: there is nothing of the class in it."""

    def set_extra_headers(self, path: str) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "max-age=86400")


def routes(prefix: str) -> list[tuple]:
    """What is answered where.

    Args:
        prefix: of the service, such as /services/dashboard/
    """
    return [
        (prefix, Page),
        (url_path_join(prefix, "data.json"), Table),
        (url_path_join(prefix, "oauth_callback"), HubOAuthCallbackHandler),
        (url_path_join(prefix, "static/(plotly.min.js)"), Asset, {"path": PLOTLY.parent}),
        (url_path_join(prefix, r"static/(page\.(?:js|css))"), Asset, {"path": HERE / "static"}),
        ("/metrics", Metrics),
    ]
