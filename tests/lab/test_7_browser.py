"""A student at a real browser: Chromium, through the proxy, into JupyterLab.

The pictures are those of the documentation: with CLASSHUB_PICTURES=1 they go to docs/images.
"""

import contextlib
from pathlib import Path

from playwright.sync_api import Error, Page, expect

from tests.lab import journey
from tests.support import browser, lab
from tests.support.client import Site


def test_a_student_runs_a_cell_and_finds_the_assignments(page, quiet, student, pictures):
    # the notebook is there before: the browser's part is to open and run it
    ada = student("ada")
    assert ada.start().ready
    ada.save("first.ipynb", journey.notebook("print('forty', 6 * 7)"), kind="notebook")
    ada.stop()

    browser.sign_in(page, quiet, "ada", "/hub/spawn", pictures)
    browser.press_start_if_asked(page)
    page.wait_for_url("**/user/ada/lab**")
    page.wait_for_selector("#jp-main-dock-panel")
    _run_first_cell(page, quiet, pictures)
    _open_assignments(page, pictures)


def _run_first_cell(page: Page, site: Site, pictures: Path) -> None:
    page.goto(f"{site.url}/user/ada/lab/tree/first.ipynb")
    cell = page.locator(".jp-Notebook .jp-CodeCell").first
    cell.wait_for()
    page.wait_for_selector(".jp-NotebookPanel-toolbar [data-status='idle']")
    output = cell.locator(".jp-OutputArea-output")
    for _ in range(4):  # a notebook that still loads takes the focus away from its cell
        cell.locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        with contextlib.suppress(Error):
            output.wait_for(timeout=browser.SLOW / 4)
            break
    expect(output).to_have_text("forty 42")
    page.screenshot(path=pictures / "jupyterlab.png")


def _open_assignments(page: Page, pictures: Path) -> None:
    """nbgrader's menu has its list, and the list opens."""
    page.locator(".lm-MenuBar-itemLabel", has_text="Nbgrader").click()
    page.locator(".lm-Menu-itemLabel", has_text="Assignment List").click()
    page.get_by_text("Released assignments").first.wait_for()
    page.screenshot(path=pictures / "assignments.png")


def test_a_full_class_is_explained_on_the_page(page, quiet, pictures):
    with lab.seats_left(0):
        browser.sign_in(page, quiet, "bob", "/hub/spawn", pictures)
        browser.press_start_if_asked(page)
        expect(page.get_by_text("class is full").first).to_be_visible(timeout=browser.SLOW)
        page.screenshot(path=pictures / "full.png")


def test_an_outage_is_explained_on_the_page(page, quiet, pictures):
    units = ("jupyterhub", "jupyterhub-proxy")
    lab.on("hub", "systemctl", "stop", *units)
    try:
        page.goto(f"{quiet.url}/hub/login")
        expect(page.locator("h1")).to_be_visible()
        page.screenshot(path=pictures / "outage.png")
    finally:
        lab.on("hub", "systemctl", "start", *reversed(units))
        lab.wait_for_hub(quiet)
