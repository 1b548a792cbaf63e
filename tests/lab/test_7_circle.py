"""An assignment's whole circle with nbgrader's own course: a student at the browser, another in a terminal, a grader.

Released, worked at, validated and submitted; sealed and collected; graded on the nodes and by hand; returned and
read. The pictures are those of the documentation: with CLASSHUB_PICTURES=1 they go to docs/images.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.lab import journey
from tests.lab.test_6_course import ANSWER, COURSE, QUICKSTART, forget, receipts, verb
from tests.support import browser, lab
from tests.support.client import Site
from tests.support.waiting import wait_until

PEOPLE = ("ada", "bob")
SOLUTION = "def squares(n): return [i ** 2 for i in range(1, n + 1)]"
# what a person does in the formgrader's pages, for all parts that wait
BY_HAND = f"""
from nbgrader.api import Gradebook
with Gradebook("sqlite:///{COURSE}/gradebook.db") as book:
    for submission in book.assignment_submissions("ps1"):
        for notebook in submission.notebooks:
            for grade in notebook.grades:
                if grade.needs_manual_grade:
                    grade.manual_score, grade.needs_manual_grade = 1, False
    book.db.commit()
"""
UNGRADE = f"""
import os
from nbgrader.api import Gradebook, MissingEntry
if os.path.exists("{COURSE}/gradebook.db"):
    with Gradebook("sqlite:///{COURSE}/gradebook.db") as book:
        for name in {PEOPLE}:
            try:
                book.remove_submission("ps1", name)
            except MissingEntry:
                pass
"""


@pytest.fixture
def course(quiet) -> Iterator[None]:
    clear()
    lab.shell("hub", QUICKSTART, timeout=300)
    yield
    clear()


def clear() -> None:
    forget(PEOPLE)
    lab.on("hub", "/opt/jupyterhub/bin/python", "-c", UNGRADE)
    for name in PEOPLE:
        places = " ".join(
            f"{COURSE}/{kind}/{name}" for kind in ("autograded", "feedback", ".graded")
        )
        lab.shell("hub", f"rm -rf {places}")
        lab.shell("hub", f"rm -rf /home/{name}/feedback /home/{name}/.local/share/jupyter")
        lab.shell("hub", f"rm -rf /home/{name}/.jupyter/lab/workspaces")


def test_the_whole_circle(course, quiet, page, student, pictures):
    report = verb("release", "ps1")
    assert report["table"]["ada"].startswith("done"), report
    ada_at_the_browser(page, quiet, pictures)
    bob_in_the_terminal(student("bob"))
    wait_until("both are sealed", sealed, 90)
    report = verb("collect", "ps1")
    assert set(report["summary"]["submitted"]) >= set(PEOPLE), report
    graded_on_the_nodes()

    table = verb("status", "ps1")["table"]
    assert "submitted 20" in table["ada"]
    assert "a part is to grade by hand" in table["ada"]
    assert verb("return_", "ps1")["table"]["ada"].startswith("skipped: a person still has to")
    the_grader_looks(browser.stranger(page.context.browser), quiet, pictures)
    lab.on("hub", "/opt/jupyterhub/bin/python", "-c", BY_HAND)

    report = verb("return_", "ps1")
    for name in PEOPLE:
        assert report["table"][name].startswith("done: is in ~/feedback/ps1"), report
    assert verb("status", "ps1")["table"]["bob"].endswith("returned")
    assert "1" in lab.salt("hub", "classhub.grades", "ps1", "format=canvas")["hub"]
    ada_reads_it(page, quiet, pictures)
    bob_reads_it(student("bob"))


def graded_on_the_nodes() -> None:
    """By salt-run, which tells how far it is."""
    command = [
        lab.salt_command("salt-run"),
        "classhub.autograde",
        "ps1",
        f"students={','.join(PEOPLE)}",
    ]
    done = subprocess.run(command, cwd=lab.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in PEOPLE:
        assert f"autograde ps1: {name}: done: graded" in done.stderr
    assert verb("autograde", "ps1")["table"]["ada"] == "skipped: is graded already"


def sealed() -> bool:
    verb("seal")
    return all(receipts(name) for name in PEOPLE)


# -- the student at the browser


def ada_at_the_browser(page: Page, site: Site, pictures: Path) -> None:
    browser.sign_in(page, site, "ada", "/hub/spawn", pictures)
    browser.press_start_if_asked(page)
    page.wait_for_url("**/user/ada/lab**")
    page.goto(f"{site.url}/user/ada/lab/tree/ps1/problem1.ipynb?reset")
    answer(page)
    open_list(page)
    row = page.locator("#fetched_assignments_list > .list_item", has_text="ps1")
    validate(page, row)
    row.locator('.item_status button:text("Submit")').click()
    submitted = page.locator("#submitted_assignments_list > .list_item", has_text="ps1")
    expect(submitted).to_have_count(1, timeout=browser.SLOW)
    page.screenshot(path=pictures / "submitted.png")


def answer(page: Page) -> None:
    """Type an answer over the first cell that is nbgrader's to fill in, and save."""
    cell = page.locator(".jp-Notebook .jp-CodeCell", has_text="YOUR CODE HERE").first
    cell.wait_for()
    # nbgrader's own course names no kernel
    page.locator(".jp-Dialog button", has_text=re.compile("^Select$")).click()
    page.wait_for_selector(".jp-NotebookPanel-toolbar [data-status='idle']")
    for _ in range(4):  # a notebook that still loads takes the focus away from its cell
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(SOLUTION)
        if page.locator(".jp-Notebook", has_text=SOLUTION).count():
            break
    page.keyboard.press("Control+S")
    path = "/home/ada/ps1/problem1.ipynb"
    wait_until("it is saved", lambda: SOLUTION in lab.on("hub", "cat", path, check=False), 30)


def open_list(page: Page) -> None:
    page.locator(".lm-MenuBar-itemLabel", has_text="Nbgrader").click()
    page.locator(".lm-Menu-itemLabel", has_text="Assignment List").click()
    page.locator("#fetched_assignments_list > .list_item", has_text="ps1").first.wait_for()


def validate(page: Page, row) -> None:
    """The validate button answers; of two problems one is solved in part, so it names what fails."""
    row.locator('a:text("ps1")').first.click()
    page.locator('.list_item button:text("Validate")').first.click()
    told = page.locator(".jp-Dialog")
    told.wait_for(timeout=browser.SLOW)
    expect(told).to_contain_text(re.compile("valid|pass|fail", re.IGNORECASE))
    page.keyboard.press("Escape")
    expect(told).to_have_count(0)


def ada_reads_it(page: Page, site: Site, pictures: Path) -> None:
    """Fetched by the list's own button; the page opens."""
    page.goto(f"{site.url}/user/ada/lab?reset")
    page.wait_for_selector("#jp-main-dock-panel")
    open_list(page)
    page.locator('#submitted_assignments_list button:text("Fetch Feedback")').first.click()
    page.get_by_text("view feedback").first.wait_for()
    page.screenshot(path=pictures / "feedback-list.png")
    found = lab.shell("hub", "ls /home/ada/ps1/feedback/*/problem1.html")
    fetched, ours = (
        lab.on("hub", "cat", found),
        lab.on("hub", "cat", "/home/ada/feedback/ps1/problem1.html"),
    )
    assert fetched == ours
    page.goto(f"{site.url}/user/ada/files/feedback/ps1/problem1.html")
    expect(page.get_by_text(re.compile(r"Score: [\d.]+ */ *[\d.]+")).first).to_be_visible()
    page.screenshot(path=pictures / "feedback.png")


# -- the student in the terminal


def bob_in_the_terminal(bob) -> None:
    journey.start(bob)
    assert not bob.kernel().run(ANSWER.replace("NAME", "bob")).error
    shell = bob.terminal()
    assert "ps1" in shell.run("nbgrader list", 60)
    assert re.search("pass|fail", shell.run("nbgrader validate ps1/problem1.ipynb", 120))
    assert "Submitted as: intro ps1" in shell.run("nbgrader submit ps1", 60)


def bob_reads_it(bob) -> None:
    shown = bob.terminal().run("nbgrader fetch_feedback ps1 && ls ps1/feedback/*", 60)
    assert "problem1.html" in shown


# -- the grader


def the_grader_looks(page: Page, site: Site, pictures: Path) -> None:
    """The formgrader lists what is to grade, and shows a submission."""
    browser.sign_in(page, site, "grace", "/services/formgrader/", pictures)
    page.wait_for_url("**/formgrader/manage_assignments")
    expect(page.locator("table a", has_text="ps1").first).to_be_visible(timeout=browser.SLOW)
    page.screenshot(path=pictures / "formgrader.png")
    page.goto(f"{site.url}/services/formgrader/formgrader/gradebook/ps1/problem1")
    page.locator("table a", has_text="Submission").first.click()
    expect(page.locator("body")).to_contain_text("squares")
    page.screenshot(path=pictures / "grading.png")
