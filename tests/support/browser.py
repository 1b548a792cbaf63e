"""A real browser, Chromium, at the class's address."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, Page, sync_playwright

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


def stranger(browser: Browser) -> Page:
    """A page for somebody whom the class does not know yet."""
    # the certificate is checked by the other tests; Chromium cannot be told to trust one file
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(SLOW)
    return context.new_page()


@contextmanager
def opened(site: Site) -> Iterator[Page]:
    """A page of a browser that knows nobody yet."""
    flags = [*FLAGS, f"--host-resolver-rules=MAP {site.domain} {site.address}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield stranger(browser)
        browser.close()


def sign_in(page: Page, site: Site, name: str, after: str, pictures: Path) -> None:
    """Fill in the form; again while the proxy says "slow down", as its own test came before."""
    for _ in range(20):
        answer = page.goto(f"{site.url}/hub/login?next={quote(after, safe='')}")
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


def press_start_if_asked(page: Page) -> None:
    """A page with a button, where the hub does not start the server by itself."""
    if page.locator("#start").is_visible():
        page.click("#start")
