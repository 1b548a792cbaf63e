"""A student at a real browser: Chromium, through the proxy, into JupyterLab.

The pictures are those of the documentation: with CLASSHUB_PICTURES=1 they go to docs/images.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, expect, sync_playwright

from tests.lab import journey
from tests.support import lab
from tests.support.client import Site

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SLOW = 90_000  # milliseconds; JupyterLab loads many megabytes on two busy cores


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    if os.environ.get("CLASSHUB_PICTURES") == "1":
        folder = lab.ROOT / "docs" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture
def page(quiet: Site) -> Iterator[Page]:
    flags = [*FLAGS, f"--host-resolver-rules=MAP {quiet.domain} {quiet.address}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        # the certificate is checked by the other tests; Chromium cannot be told to trust one file
        context = browser.new_context(
            ignore_https_errors=True, viewport={"width": 1280, "height": 800}
        )
        context.set_default_timeout(SLOW)
        yield context.new_page()
        browser.close()


def test_a_student_runs_a_cell_and_finds_the_assignments(page, quiet, student, pictures):
    # the notebook is there before: the browser's part is to open and run it
    ada = student("ada")
    assert ada.start().ready
    ada.save("first.ipynb", journey.notebook("print('forty', 6 * 7)"), kind="notebook")
    ada.stop()

    _sign_in(page, quiet, "ada", pictures)
    _press_start_if_asked(page)
    page.wait_for_url("**/user/ada/lab**")
    page.wait_for_selector("#jp-main-dock-panel")
    _run_first_cell(page, quiet, pictures)
    _open_assignments(page, pictures)


def _sign_in(page: Page, site: Site, name: str, pictures: Path) -> None:
    """Fill in the form; again while the proxy says "slow down", as its own test came before."""
    for _ in range(20):
        answer = page.goto(f"{site.url}/hub/login?next=%2Fhub%2Fspawn")
        if answer is not None and answer.status == 200:
            page.screenshot(path=pictures / "sign-in.png")
            page.fill("#username_input", name)
            page.fill("#password_input", "lab")
            with page.expect_navigation() as navigation:
                page.click("#login_submit")
            if navigation.value.status != 429:
                return
        page.wait_for_timeout(5000)  # room for the two requests of a sign-in
    raise AssertionError("the proxy let nobody sign in for 100 s")


def _press_start_if_asked(page: Page) -> None:
    """A page with a button, where the hub does not start the server by itself."""
    if page.locator("#start").is_visible():
        page.click("#start")


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
            output.wait_for(timeout=SLOW / 4)
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
        _sign_in(page, quiet, "bob", pictures)
        _press_start_if_asked(page)
        expect(page.get_by_text("class is full").first).to_be_visible(timeout=SLOW)
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
