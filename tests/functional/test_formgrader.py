"""The formgrader as the hub runs it: a real process with nbgrader, beside a hub that knows three people."""

import contextlib
import html
import importlib.util
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.support import service_hub
from tests.support.submissions import environment

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("nbgrader"), reason="needs what the hub's virtual environment has"
)

# in processes of their own: nbgrader brings a distutils that does not go with the one Salt has loaded
GRADEBOOK = """
import json, sys
from nbgrader.api import Gradebook
evil = sys.argv[2]
with Gradebook("sqlite:///" + sys.argv[1], "intro") as gradebook:
    gradebook.add_assignment("ps1")
    gradebook.add_notebook("problem1", "ps1")
    gradebook.add_grade_cell("squares", "problem1", "ps1", max_score=5, cell_type="code")
    gradebook.add_solution_cell("squares", "problem1", "ps1")
    gradebook.add_student("ada", last_name=evil, first_name=evil)
    gradebook.add_submission("ps1", "ada")
    notebook = gradebook.find_submission_notebook("problem1", "ps1", "ada")
    (grade,), (comment,) = notebook.grades, notebook.comments
    print(json.dumps({"submission": notebook.id, "grade": grade.id, "comment": comment.id}))
"""
ACTING = """
import json
from nbgrader.server_extensions.formgrader import apihandlers
from classhub.formgrader import handlers
acting = {
    handler
    for _, handler in apihandlers.default_handlers
    if {"post", "put", "delete", "patch"} & set(vars(handler))
}
assert set(handlers.REFUSALS) <= acting
print(json.dumps([handler.__name__ for handler in acting - set(handlers.REFUSALS)]))
"""
SCOPE = "access:services!service=formgrader"
# who the hub knows; what it lets one do, and what the course's roster says, are not the same thing
SCOPES = {"gina": [SCOPE], "prof": [SCOPE], "ada": [], "eve": [SCOPE]}
ROLES = {"gina": "grader", "prof": "instructor", "ada": "student", "bob": "student"}
CHROMIUM = "/usr/bin/chromium"
EVIL = "<script>alert('evil')</script><img src=x onerror=alert('evil')><style>body{}</style>"


def cell(grade_id: str, kind: str, source: str, *outputs: dict, **metadata: object) -> dict:
    nbgrader = {"grade_id": grade_id, "grade": True, "solution": True, "task": False, "points": 5}
    made = {"cell_type": kind, "source": source, "metadata": {"nbgrader": nbgrader | metadata}}
    if kind == "code":
        made |= {"execution_count": 1, "outputs": list(outputs)}
    return made


def shown(**data: str) -> dict:
    data = {name.replace("_", "/"): text for name, text in data.items()}
    return {"output_type": "display_data", "data": data, "metadata": {}}


TABLE = '<table class="dataframe"><thead><tr><th>mean</th></tr></thead></table>'
NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 4,
    "metadata": {"title": EVIL, "widgets": {}, "language_info": {"name": EVIL}},
    "cells": [
        cell("essay", "markdown", f"# My *essay*\n\n{EVIL}\n\n[x](javascript:alert('evil'))"),
        cell("squares", "code", f"print('{EVIL}')", shown(text_html=TABLE + EVIL)),
        cell("more", "code", "1", shown(application_javascript="alert('evil')")),
        cell("mark", "code", "1", shown(text_markdown=f"**bold** {EVIL}")),
        cell("svg", "code", "1", {"output_type": "stream", "name": EVIL, "text": EVIL}),
        cell("error", "code", "1", {"output_type": "error", "ename": "", "evalue": "", "traceback": [EVIL]}),
        cell(f'"/>{EVIL}', "markdown", "the id is evil"),
        cell("points", "code", "1", points=EVIL) | {"execution_count": EVIL},
        {"cell_type": EVIL, "source": EVIL, "metadata": {"tags": [EVIL]}, "id": EVIL},
    ],
}  # fmt: skip


def make_course(top: Path) -> dict[str, str]:
    """A course with one autograded submission; ids of the gradebook."""
    for name in ("source/ps1", "submitted/ada/ps1", "autograded/ada/ps1"):
        (top / name).mkdir(parents=True)
    config = f"c = get_config()\nc.CourseDirectory.course_id = 'intro'\nc.CourseDirectory.root = {str(top)!r}\n"
    (top / "nbgrader_config.py").write_text(config)
    (top / "source/ps1/problem1.ipynb").write_text(json.dumps(NOTEBOOK | {"cells": []}))
    (top / "autograded/ada/ps1/problem1.ipynb").write_text(json.dumps(NOTEBOOK))
    (top / "autograded/ada/ps1/page.html").write_text(EVIL)
    return python(GRADEBOOK, top / "gradebook.db", EVIL)


def python(code: str, *arguments: object) -> object:
    """What a program prints as JSON."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    env = environment() | {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}  # alembic's
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Formgrader(service_hub.Service):
    """The running service.

    Attributes:
        ids: of the submission, its grade and its comment
    """

    def __init__(self, top: Path, hub: int) -> None:
        self.course = top / "course"
        self.ids = make_course(self.course)
        people = [
            {"username": name, "uid": 30000 + number, "role": role}
            for number, (name, role) in enumerate(ROLES.items())
        ]
        config = top / "course.json"
        config.write_text(
            json.dumps({"course_id": "intro", "course_dir": str(self.course), "people": people})
        )
        super().__init__("formgrader", hub, top / "log", ["--config", str(config)], HOME=str(top))


@pytest.fixture(scope="module")
def formgrader(tmp_path_factory):
    with service_hub.running(SCOPES) as hub:
        running = Formgrader(tmp_path_factory.mktemp("formgrader"), hub)
        try:
            running.wait()
            yield running
        finally:
            running.stop()


PAGES = [
    "",
    "formgrader/manage_assignments",
    "formgrader/manage_submissions/ps1",
    "formgrader/gradebook",
    "formgrader/gradebook/ps1/problem1",
    "formgrader/manage_students/ada/ps1",
    "formgrader/api/assignments",
    "formgrader/submissions/{submission}/",
    "formgrader/submissions/{submission}/page.html",
]


@pytest.mark.parametrize("page", PAGES)
def test_staff_see_the_pages_and_nobody_else_does(formgrader, page):
    page = page.format(**formgrader.ids)
    statuses = {who: formgrader.request(who, page).status_code for who in (*SCOPES, "mallory")}
    # eve has the hub's permission but is not on the roster; who the hub does not know is sent to it
    assert statuses.pop("mallory") in (403, 404)
    assert statuses == {"gina": 200, "prof": 200, "ada": 403, "eve": 403}
    stranger = formgrader.request("", page, allow_redirects=False)
    assert stranger.status_code == 302
    assert stranger.headers["Location"].startswith("/hub/api/oauth2/authorize?")


def test_the_assignments_are_listed(formgrader):
    (ps1,) = formgrader.request("gina", "formgrader/api/assignments").json()
    assert (ps1["name"], ps1["num_submissions"]) == ("ps1", 1)


def test_grading_by_hand(formgrader):
    grade, comment = (
        f"formgrader/api/{kind}/{formgrader.ids[kind]}" for kind in ("grade", "comment")
    )
    scored = formgrader.request("gina", grade, "PUT", json={"manual_score": 4, "extra_credit": 0.5})
    assert scored.json()["manual_score"] == 4
    written = formgrader.request("prof", comment, "PUT", json={"manual_comment": "well done"})
    assert written.json()["manual_comment"] == "well done"
    (ada,) = formgrader.request("prof", "formgrader/api/students").json()
    assert ada["score"] == 4.5
    assert formgrader.request("ada", grade, "PUT", json={"manual_score": 5}).status_code == 403
    assert formgrader.request("gina", grade).json()["manual_score"] == 4


def test_grades_written_meanwhile_are_seen(formgrader):
    path = f"formgrader/api/grades?submission_id={formgrader.ids['submission']}"
    formgrader.request("gina", path)
    with (
        contextlib.closing(sqlite3.connect(formgrader.course / "gradebook.db")) as database,
        database,
    ):
        database.execute("UPDATE grade SET auto_score = 1.25")
    assert formgrader.request("gina", path).json()[0]["auto_score"] == 1.25


def test_a_browser_signs_in_at_the_hub_and_grades(formgrader):
    """By cookies: what a page of somebody else's could send in a grader's name is refused."""
    base = f"http://127.0.0.1:{formgrader.port}/services/formgrader/"
    with requests.Session() as browser:
        browser.trust_env = False
        sent = browser.get(f"{base}formgrader/gradebook", allow_redirects=False)
        state = parse_qs(urlsplit(sent.headers["Location"]).query)["state"]
        back = {"code": "gina", "state": state}
        page = browser.get(f"{base}oauth_callback", params=back)
        assert (page.status_code, page.url) == (200, f"{base}formgrader/gradebook")
        grade = f"{base}formgrader/api/grade/{formgrader.ids['grade']}"
        forged = browser.put(grade, json={"manual_score": 5})
        assert forged.status_code == 403
        token = {"X-CSRFToken": browser.cookies["_xsrf"]}
        assert (
            browser.put(grade, json={"manual_score": 3}, headers=token).json()["manual_score"] == 3
        )


def test_due_date_and_names_can_be_changed(formgrader):
    due = {"duedate_notimezone": "2030-01-31T23:59", "duedate_timezone": "+0100"}
    answer = formgrader.request("gina", "formgrader/api/assignment/ps1", "PUT", json=due)
    assert answer.json()["duedate"].startswith("2030-01-31T22:59")


REFUSED = {
    "assignment/ps1/assign": "salt hub classhub.release ps1",
    "assignment/ps1/release": "salt hub classhub.release ps1",
    "assignment/ps1/unrelease": "is not done",
    "assignment/ps1/collect": "salt hub classhub.collect ps1",
    "assignment/ps1/generate_feedback": "salt hub classhub.feedback ps1",
    "assignment/ps1/release_feedback": "salt hub classhub.return_ ps1",
    "assignment/ps1/ada/generate_feedback": "salt hub classhub.feedback ps1 students=ada",
    "assignment/ps1/ada/release_feedback": "salt hub classhub.return_ ps1 students=ada",
    "submission/ps1/ada/autograde": "salt hub classhub.autograde ps1 students=ada",
}


@pytest.mark.parametrize("button", REFUSED)
def test_buttons_that_are_not_for_the_hub_say_what_is(formgrader, button):
    before = sorted(formgrader.course.rglob("*"))
    answer = formgrader.request("prof", f"formgrader/api/{button}", "POST")
    assert answer.status_code == 403
    assert REFUSED[button] in answer.json()["message"]
    assert sorted(formgrader.course.rglob("*")) == before
    assert "message" not in formgrader.request("ada", f"formgrader/api/{button}", "POST").text


def test_every_handler_that_acts_is_known():
    """A newer nbgrader with another button must not bring it in unseen."""
    assert set(python(ACTING)) == {
        "GradeHandler",
        "CommentHandler",
        "FlagSubmissionHandler",
        "AssignmentHandler",
        "StudentHandler",
    }


# -- what a student's notebook can do to a grader


def submission(formgrader) -> tuple[str, str]:
    answer = formgrader.request("gina", f"formgrader/submissions/{formgrader.ids['submission']}/")
    return answer.text, answer.headers["Content-Security-Policy"]


def test_nothing_of_a_students_runs_in_the_page(formgrader):
    page, _ = submission(formgrader)
    tags = re.findall(r"<[^>]*>", page)
    assert not [tag for tag in tags if "onerror" in tag or "javascript:" in tag or "evil" in tag]
    assert "alert(" not in "".join(re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL))
    assert "<style>body{}" not in page


def test_work_is_shown_as_it_was_meant(formgrader):
    page, _ = submission(formgrader)
    assert "<h1>My <em>essay</em>" in page
    assert "<th>mean</th>" in page
    assert "<strong>bold</strong>" in page
    assert html.escape("alert('evil')", quote=False) in html.unescape(page)
    assert 'id="squares"' in page
    assert 'id="squares-comment"' in page


def test_only_scripts_of_nbgraders_may_run(formgrader):
    page, policy = submission(formgrader)
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    static = f"127.0.0.1:{formgrader.port}/services/formgrader/formgrader/static/"
    assert rules["default-src"] == "'none'"
    words = rules["script-src"].split()
    assert words[:2] == [static, "'unsafe-hashes'"]
    assert all(word.startswith("'sha256-") for word in words[2:])
    sources = re.findall(r'<script[^>]* src="([^"]*)"', page)
    own = [
        source for source in sources if source.startswith("/services/formgrader/formgrader/static/")
    ]
    assert len(own) > 8
    assert {
        formgrader.request("", source.removeprefix("/services/formgrader/")).status_code
        for source in own
    } == {200}


def test_a_file_of_a_students_is_no_page_of_the_class(formgrader):
    path = f"formgrader/submissions/{formgrader.ids['submission']}/page.html"
    headers = formgrader.request("gina", path).headers
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "formgrader/submissions/{submission}/..%2F..%2F..%2Fgradebook.db",
        "formgrader/submissions/{submission}/%2e%2e/%2e%2e/%2e%2e/nbgrader_config.py",
        "formgrader/manage_submissions/%22%3C%2Fscript%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "formgrader/gradebook/..%2Fx",
        "api/contents", "api/kernels", "terminals/1", "lab", "tree", "files/gradebook.db",
        "formgrader/nothing",
    ],
)  # fmt: skip
def test_there_is_nothing_else(formgrader, path):
    answer = formgrader.request("prof", path.format(**formgrader.ids))
    assert answer.status_code == 404
    assert "alert" not in answer.text


def test_an_assignment_cannot_be_made_outside_the_source(formgrader):
    answer = formgrader.request("prof", "formgrader/api/assignment/..%2F..%2Fx", "PUT", json={})
    assert answer.status_code == 404
    assert not (formgrader.course.parent / "x").exists()


def test_a_link_cannot_name_a_configuration(formgrader, tmp_path):
    (tmp_path / "nbgrader_config.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    formgrader.request("gina", "formgrader/", params={"path": str(tmp_path)})
    assert not (tmp_path / "ran").exists()


# -- in a real browser


@pytest.fixture(scope="module")
def browser():
    """Chromium, for a page at a time."""
    api = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip("there is no Chromium")
    with api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--no-proxy-server"]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture
def tab(browser, formgrader):
    """A grader's tab; `tab.told` has what the browser complained about."""
    context = browser.new_context(extra_http_headers={"Authorization": "token gina"})
    context.set_default_timeout(15_000)
    page = context.new_page()
    page.told = []
    page.on("console", lambda message: page.told.append(message.text))
    page.on("pageerror", lambda error: page.told.append(str(error)))
    page.on("dialog", lambda dialog: (page.told.append(dialog.message), dialog.dismiss()))
    page.base = f"http://127.0.0.1:{formgrader.port}/services/formgrader/"
    yield page
    context.close()


def test_a_grader_grades_in_a_browser(tab, formgrader):
    tab.goto(f"{tab.base}formgrader/submissions/{formgrader.ids['submission']}/")
    tab.wait_for_load_state("networkidle")
    tab.fill("#squares", "2")
    with tab.expect_response(lambda answer: "/api/grade/" in answer.url) as saved:
        tab.locator("#squares").blur()
    assert saved.value.json()["manual_score"] == 2
    tab.click(".glyphicon-eye-open")
    assert tab.locator("a.name-shown").is_visible()
    assert not [told for told in tab.told if "evil" in told]
    # MathJax is on somebody else's server
    blocked = [told for told in tab.told if "Refused" in told and "mathjax" not in told.lower()]
    assert blocked == []


def test_a_refused_button_says_why_in_a_browser(tab):
    tab.goto(f"{tab.base}formgrader/manage_assignments")
    tab.click("td.assign a")
    tab.wait_for_selector("#refusal-modal >> text=salt hub classhub.release ps1")
    assert not [told for told in tab.told if "Refused" in told]
