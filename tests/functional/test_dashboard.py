"""The dashboard as the hub runs it: a real process beside a hub that knows three people, and a browser that draws it."""

import json
import re
import time
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from playwright.sync_api import sync_playwright
from prometheus_client.parser import text_string_to_metric_families

from tests.support import service_hub
from tests.support.browser import CHROMIUM, FLAGS

SCOPE = "access:services!service=dashboard"
SCOPES = {"gina": [SCOPE], "prof": [SCOPE], "ada": []}
EVIL = "</script><script>alert(1)</script>"
GIB = 1 << 30


def state(at: float) -> dict:
    """The class as it is written down, with names that would be code if a page let them."""
    hourly = [
        {
            "hour": f"2030-01-{1 + number // 24:02} {number % 24:02}:00",
            "people": number % 7,
            "servers": number % 5,
        }
        for number in range(240)
    ]
    stages = {
        "has": 20,
        "opened": 15,
        "submitted": 9,
        "late": 1,
        "collected": 0,
        "graded": 0,
        "returned": 0,
    }
    return {
        "at": at,
        "time": "2030-01-10 12:00",
        "hourly": hourly,
        "peak": [{"of": "servers", "most": 4, "at": "2030-01-09 11:00"}],
        "forecast": {"seats": 5, "nodes": 1, "because": "the busiest moment of four weeks"},
        "seat": GIB,
        "nodes": [{"name": "node1", "total": 8 * GIB, "reserved": 3 * GIB}],
        "disk": {"size": 9 * GIB, "used": 5 * GIB, "free": 3 * GIB, "files": 900, "files_free": 400, "over": 2},
        "progress": {"ps1": {"people": 20, "due": "2030-01-31T23:59", **stages}, EVIL: {"people": 20, "due": "", **stages}},
        "culled": [{"at": "2030-01-09T10:00:00", "server": "ada", "decision": "stopped", "reason": EVIL}],
    }  # fmt: skip


class Dashboard(service_hub.Service):
    """The running service."""

    def __init__(self, top, hub: int) -> None:
        self.state = top / "class.json"
        super().__init__("dashboard", hub, top / "log", ["--state", str(self.state)])

    def get(self, who: str, path: str = "", **kwargs) -> requests.Response:
        return self.request(who, path, **kwargs)

    def write(self, at: float | None = None) -> None:
        self.state.write_text(json.dumps(state(time.time() if at is None else at)))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with service_hub.running(SCOPES) as hub:
        found = Dashboard(tmp_path_factory.mktemp("dashboard"), hub)
        try:
            found.wait()
            yield found
        finally:
            found.stop()


@pytest.fixture
def dashboard(running):
    running.write()
    return running


@pytest.mark.parametrize("path", ["", "data.json", "?days=28"])
def test_staff_see_it_and_nobody_else_does(dashboard, path):
    assert {who: dashboard.get(who, path).status_code for who in SCOPES} == {
        "gina": 200,
        "prof": 200,
        "ada": 403,
    }
    stranger = dashboard.get("", path, allow_redirects=False)
    assert (stranger.status_code, dashboard.get("mallory", path).status_code) == (302, 404)
    assert stranger.headers["Location"].startswith("/hub/api/oauth2/authorize?")


def test_who_is_refused_is_told_why(dashboard):
    assert "for the course's staff" in dashboard.get("ada").text.replace("&#x27;", "'").replace(
        "&#39;", "'"
    )


def test_each_plot_has_its_table(dashboard):
    page = dashboard.get("gina").text
    sections = re.findall(r'<section id="(\w+)"(.*?)</section>', page, re.DOTALL)
    assert [name for name, _ in sections] == ["activity", "nodes", "seats", "progress", "culled"]
    for _, content in sections:
        assert "<table>" in content
    assert [name for name, content in sections if "application/json" in content] == [
        "activity",
        "nodes",
        "progress",
    ]


def test_names_are_text_and_not_code(dashboard):
    assert EVIL not in dashboard.get("gina").text


def test_nothing_comes_from_elsewhere(dashboard):
    answer = dashboard.get("gina")
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", answer.text)
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    for path in re.findall(r'(?:src|href)="(static/[^"]+)"', answer.text):
        assert dashboard.get("", path).status_code == 200


@pytest.mark.parametrize(
    "path", ["?days=3", "?days=x", "static/page.html", "static/../handlers.py", "elsewhere"]
)
def test_what_is_not_there(dashboard, path):
    assert dashboard.get("gina", path).status_code == 404


def test_what_stands_still_says_so(dashboard):
    assert "Nothing was recorded since" not in dashboard.get("gina").text
    dashboard.write(at=time.time() - 3600)
    assert "Nothing was recorded since" in dashboard.get("gina").text


@pytest.mark.parametrize("text", [None, "{"])
def test_class_of_which_nothing_is_recorded(dashboard, text):
    dashboard.state.unlink()
    if text:
        dashboard.state.write_text(text)
    answer = dashboard.get("gina")
    assert answer.status_code == 503
    assert "Nothing is recorded yet" in answer.text


def test_metrics_are_prometheus_s_and_beside_the_service_s_own_part(dashboard):
    with requests.Session() as session:
        session.trust_env = False
        text = session.get(f"http://127.0.0.1:{dashboard.port}/metrics", timeout=30).text
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["classhub_node_memory_bytes", "node1", "reserved"] == 3 * GIB
    assert found["classhub_assignment_students", "ps1", "submitted"] == 9
    assert found["classhub_forecast_seats",] == 5
    assert found["classhub_homes_bytes", "free"] == 3 * GIB
    assert found["classhub_homes_over_quota",] == 2
    assert dashboard.get("gina", "metrics").status_code == 404


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_draws_it_also_on_a_phone(dashboard, width):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(viewport={"width": width, "height": 800}).new_page()
        faults = []
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        sent = page.context.request.get(dashboard.base, max_redirects=0)
        state_word = parse_qs(urlsplit(sent.headers["location"]).query)["state"][0]
        page.goto(f"{dashboard.base}oauth_callback?code=gina&state={state_word}")
        page.wait_for_selector("#progress .main-svg")
        assert page.locator(".plot .main-svg").count() >= 3
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # the hub's icon is the hub's
        assert [fault for fault in faults if "favicon" not in fault and "404" not in fault] == []
        browser.close()
