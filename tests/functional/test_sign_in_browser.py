"""Signing in with a browser, at a place of another site: GitHub, a campus's OpenID provider, a learning platform.

What a browser adds to test_sign_in.py is what it does with cookies between sites.
"""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from playwright.sync_api import Page, expect, sync_playwright

from tests.support import class_hub, github, lms
from tests.support.browser import CHROMIUM, FLAGS, stranger

pytestmark = pytest.mark.slow


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield stranger(browser)
        browser.close()


@pytest.fixture
def hub(tmp_path):
    made = class_hub.ClassHub(tmp_path)
    made.add("ada", 20000, "students")
    made.logins({"ada": "ada", "bob": "bob", "ada@class.example.edu": "ada"})
    yield made
    made.close()


def expect_home_of_ada(page: Page, hub: class_hub.ClassHub) -> None:
    page.wait_for_url(f"{hub.url}/hub/home")
    expect(page.get_by_text("ada", exact=True).first).to_be_visible()


def test_github(page, hub):
    with github.running(hub.callback) as site:
        settings = {"client_id": github.CLIENT, "client_secret": github.SECRET, "url": site.url}
        hub.start({"authenticator": "github", "github": settings})
        site.who, site.accounts = "Mallory", {"Ada": 101, "Mallory": 666}
        page.goto(f"{hub.url}/hub/home")
        page.get_by_role("button", name="Sign in with GitHub").click()
        expect(
            page.get_by_text("The account mallory at GitHub is not on the roster")
        ).to_be_visible()
        site.who = "Ada"
        page.goto(f"{hub.url}/hub/home")
        page.get_by_role("button", name="Sign in with GitHub").click()
        expect_home_of_ada(page, hub)
        page.locator("#logout").click()
        page.goto(f"{hub.url}/hub/home")
        expect(page.get_by_role("button", name="Sign in with GitHub")).to_be_visible()


def test_another_provider_by_pillar(page, hub):
    """What GitHub's server speaks is OAuth, after all."""
    with github.running(hub.callback) as site:
        given = {
            "client_id": github.CLIENT,
            "authorize_url": f"{site.url}/login/oauth/authorize",
            "token_url": f"{site.url}/login/oauth/access_token",
            "userdata_url": f"{site.url}/api/v3/user",
            "username_claim": "login",
            "login_service": "Campus",
        }
        oauth = {"class": "generic-oauth", "client_secret": github.SECRET, "settings": given}
        hub.start({"authenticator": "oauth", "oauth": oauth})
        site.who, site.accounts = "Eve@elsewhere.example", {"Eve@elsewhere.example": 1}
        page.goto(f"{hub.url}/hub/home")
        page.get_by_role("button", name="Sign in with Campus").click()
        told = "The account eve@elsewhere.example at Campus is not on the roster"
        expect(page.get_by_text(told)).to_be_visible()
        site.who, site.accounts = "Ada@class.example.edu", {"Ada@class.example.edu": 2}
        page.goto(f"{hub.url}/hub/home")
        page.get_by_role("button", name="Sign in with Campus").click()
        expect_home_of_ada(page, hub)
        assert not (hub.state / "identities.json").exists()


def test_a_learning_platform_launches_the_class(page, hub):
    with lms.running(hub.url) as platform:
        kind = "ltiauthenticator.lti13.auth.LTI13Authenticator"
        oauth = {"class": kind, "client_secret": "", "settings": platform.settings}
        hub.start({"authenticator": "oauth", "oauth": oauth})
        platform.email = "eve@class.example.edu"
        page.goto(f"{platform.url}/course")
        expect(page.get_by_text("The account eve@class.example.edu at LTI 1.3")).to_be_visible()
        platform.email = "Ada@class.example.edu"
        page.goto(f"{platform.url}/course")
        expect_home_of_ada(page, hub)


def test_a_launch_that_the_platform_has_not_signed(page, hub):
    with lms.running(hub.url) as platform:
        kind = "ltiauthenticator.lti13.auth.LTI13Authenticator"
        oauth = {"class": kind, "client_secret": "", "settings": platform.settings}
        hub.start({"authenticator": "oauth", "oauth": oauth})
        platform.email = "ada@class.example.edu"
        platform.signs = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        page.goto(f"{platform.url}/course")
        expect(page.get_by_text("Signature verification failed").first).to_be_visible()
        page.goto(f"{hub.url}/hub/home")
        expect(page.get_by_text("ada", exact=True)).to_have_count(0)
