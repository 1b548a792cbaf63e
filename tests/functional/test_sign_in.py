"""Signing in with GitHub: the whole way through JupyterHub itself, and each way that it can go wrong."""

import base64
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests

from tests.support import class_hub, github
from tests.support.loading import ROOT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow
# what nobody waits for in a test: how soon a silent GitHub is given up, and how soon a session is looked at again
MORE = """
c.OAuthenticator.http_request_kwargs = {"request_timeout": 3.0}
c.Authenticator.auth_refresh_age = 1
"""
LOGINS = {
    name: name
    for name in ("ada", "bob", "cleo", "dan", "eve", "finn", "gil", "grace", "ida", "late", "lost")
}
LOGINS |= {"0xhal": "hal", "jo-new": "jo", "root": "root", "www-data": "www-data"}
LOGINS |= {"kit": "kit", "leah": "lea", "maxx": "max"}  # two are misspelt: strangers' logins
STUDENTS = ("ada", "bob", "cleo", "dan", "eve", "finn", "gil", "hal", "ida", "jo", "kim")
STUDENTS += ("kit", "lea", "max")


class World:
    """A hub, its GitHub, and people at browsers."""

    def __init__(self, hub: class_hub.ClassHub, site: github.GitHub) -> None:
        self.hub, self.github = hub, site
        self.mark = 0

    def browser(self) -> requests.Session:
        return self.hub.session()

    def sign_in(self, login: str, number: int, browser=None, path: str = "oauth_login"):
        """Press the button, consent, and come back: the page one sees then."""
        self.github.who = login
        self.github.accounts[login] = number
        self.mark = len(self.hub.log())
        return (browser or self.browser()).get(f"{self.hub.url}/hub/{path}", timeout=60)

    def begun(self, browser: requests.Session) -> str:
        """The state that GitHub is to bring back."""
        page = browser.get(f"{self.hub.url}/hub/oauth_login", allow_redirects=False, timeout=60)
        return parse_qs(urlsplit(page.headers["Location"]).query)["state"][0]

    def me(self, browser: requests.Session) -> dict:
        """Whom the hub takes somebody for; empty for a stranger."""
        answer = browser.get(
            f"{self.hub.url}/hub/api/user",
            headers={
                "Referer": f"{self.hub.url}/hub/home",
                "X-XSRFToken": browser.cookies.get("_xsrf", path="/hub/") or "",
            },
            timeout=60,
        )
        return answer.json() if answer.ok else {}

    def told(self) -> str:
        """What the operator has been told since the last sign-in began."""
        return self.hub.log()[self.mark :]

    @property
    def identities(self) -> dict[str, str]:
        file = self.hub.state / "identities.json"
        return json.loads(file.read_text()) if file.exists() else {}


def sentence(page: requests.Response) -> str:
    """What the page says."""
    text = re.sub(r"<(script|style).*?</\1>", " ", page.text, flags=re.DOTALL)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
    return text.replace("&#39;", "'")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    hub = class_hub.ClassHub(tmp_path_factory.mktemp("hub"))
    for number, name in enumerate(STUDENTS):
        hub.add(name, 20000 + number, "students")
    hub.add("grace", 20100, "graders")
    hub.add("lost", 20101)
    hub.change("group", "students:x:", "root")
    hub.change("group", "students:x:", "www-data")
    hub.logins(LOGINS)
    with github.running(hub.callback) as site:
        settings = {"client_id": github.CLIENT, "client_secret": github.SECRET, "url": site.url}
        port = urlsplit(site.url).port
        try:
            hub.start({"authenticator": "github", "github": settings}, elsewhere=port, more=MORE)
            yield World(hub, site)
        finally:
            hub.close()


@pytest.fixture(autouse=True)
def sound(world):
    yield
    world.github.reset()


def test_the_page_has_the_button(world):
    page = world.browser().get(f"{world.hub.url}/hub/login", timeout=60)
    assert "Sign in with GitHub" in sentence(page)
    assert "password" not in sentence(page).lower()


def test_a_student_signs_in_and_starts_a_server(world):
    browser = world.browser()
    # the server's own page is none here: what counts is that the hub sends her there
    page = world.sign_in("ada", 101, browser, "oauth_login?next=%2Fhub%2Fhome")
    assert (page.status_code, page.url) == (200, f"{world.hub.url}/hub/home")
    me = world.me(browser)
    assert (me["name"], me["admin"], me["groups"]) == ("ada", False, ["students"])
    assert world.identities["ada"] == "101"
    assert world.hub.operator("POST", "users/ada/server").status_code in (201, 202)
    wait_until(
        "her server is ready",
        lambda: world.hub.operator("GET", "users/ada").json()["servers"][""]["ready"],
        30,
    )


def test_the_cookies_are_for_https_alone(world):
    browser = world.browser()
    world.begun(browser)
    assert "oauthenticator-state" in browser.cookies
    assert all(cookie.secure for cookie in browser.cookies)
    world.sign_in("ada", 101, browser, "oauth_login?next=%2Fhub%2Fhome")
    assert "oauthenticator-state" not in browser.cookies
    assert all(cookie.secure for cookie in browser.cookies)


def test_staff_have_the_groups_of_their_role(world):
    browser = world.browser()
    world.sign_in("grace", 102, browser, "oauth_login?next=%2Fhub%2Fhome")
    assert world.me(browser)["groups"] == ["graders"]


def test_no_token_is_kept(world):
    world.sign_in("ada", 101)
    assert world.github.tokens
    kept = [path.read_bytes() for path in world.hub.state.iterdir() if path.is_file()]
    kept.append(world.hub.log().encode())
    for secret in (*world.github.tokens, github.SECRET):
        assert not any(secret.encode() in content for content in kept)


def test_letters_of_a_login_are_the_same_in_any_case(world):
    browser = world.browser()
    world.sign_in("Bob", 103, browser, "oauth_login?next=%2Fhub%2Fhome")
    assert world.me(browser)["name"] == "bob"
    world.sign_in("BOB", 103, browser := world.browser(), "oauth_login?next=%2Fhub%2Fhome")
    assert world.me(browser)["name"] == "bob"


def test_a_login_of_the_roster_is_not_a_username(world):
    browser = world.browser()
    world.sign_in("0xHal", 104, browser, "oauth_login?next=%2Fhub%2Fhome")
    assert world.me(browser)["name"] == "hal"
    # the account that is called as the student is here is somebody else's
    page = world.sign_in("hal", 666)
    assert page.status_code == 403
    assert "The account hal at GitHub is not on the roster" in sentence(page)


def test_a_stranger_is_told_and_so_is_the_operator(world):
    browser = world.browser()
    page = world.sign_in("Mallory", 666, browser)
    assert page.status_code == 403
    assert "The account mallory at GitHub is not on the roster of this class." in sentence(page)
    assert "Sign-in refused: 'mallory' is not on the roster" in world.told()
    assert "mallory" not in world.identities
    assert world.me(browser) == {}


def test_an_account_that_was_renamed_is_still_the_persons(world):
    world.sign_in("cleo", 105)
    browser = world.browser()
    page = world.sign_in("cleo-the-great", 105, browser, "oauth_login?next=%2Fhub%2Fhome")
    assert page.status_code == 200
    assert world.me(browser)["name"] == "cleo"


def test_a_name_that_somebody_else_has_taken_is_refused_until_it_is_forgotten(world):
    world.sign_in("dan", 106)
    page = world.sign_in("dan", 667)
    assert page.status_code == 403
    assert "dan has signed in with another account at GitHub before" in sentence(page)
    assert "classhub.forget_identity dan" in world.told()
    assert world.identities["dan"] == "106"
    assert forget(world, "dan", "--test") == "done: would be forgotten"
    assert world.sign_in("dan", 667).status_code == 403
    assert forget(world, "dan") == "done: forgotten; the next sign-in counts"
    browser = world.browser()
    world.sign_in("dan", 667, browser, "oauth_login?next=%2Fhub%2Fhome")
    assert world.me(browser)["name"] == "dan"
    assert world.sign_in("dan", 106).status_code == 403
    assert forget(world, "nobody") == "skipped: has not signed in with an account elsewhere"


def token_of(world, browser: requests.Session, name: str, note: str = "") -> str:
    """A token that somebody makes for later."""
    made = browser.post(
        f"{world.hub.url}/hub/api/users/{name}/tokens",
        headers={
            "Referer": f"{world.hub.url}/hub/token",
            "X-XSRFToken": browser.cookies.get("_xsrf", path="/hub/"),
        },
        json={"note": note},
        timeout=60,
    )
    return made.json()["token"]


def by_token(world, token: str) -> int:
    headers = {"Authorization": f"token {token}"}
    api = f"{world.hub.url}/hub/api/user"
    return world.browser().get(api, headers=headers, timeout=60).status_code


def test_a_stranger_by_a_misspelt_login_is_out_when_the_person_comes(world):
    """Not once the session is looked at again: what is looked at then is the person's, who is in."""
    stranger, home = world.browser(), "oauth_login?next=%2Fhub%2Fhome"
    world.sign_in("leah", 666, stranger, home)
    tokens = [token_of(world, stranger, "lea", note) for note in ("", "Server at /user/lea/")]
    assert world.me(stranger)["name"] == "lea"
    assert [by_token(world, token) for token in tokens] == [200, 200]
    world.hub.logins(LOGINS | {"lea": "lea"})
    try:
        assert forget(world, "lea") == "done: forgotten; the next sign-in counts"
        lea = world.browser()
        world.sign_in("lea", 114, lea, home)
        assert world.me(stranger) == {}
        assert [by_token(world, token) for token in tokens] == [403, 403]
        assert world.me(lea)["name"] == "lea"
        assert world.identities["lea"] == "114"
        own = token_of(world, lea, "lea")
        world.sign_in("lea", 114, world.browser(), home)
        assert (world.me(lea)["name"], by_token(world, own)) == ("lea", 200)
    finally:
        world.hub.logins(LOGINS)


def test_whose_account_is_forgotten_is_out_also_if_nobody_comes(world):
    stranger = world.browser()
    world.sign_in("maxx", 668, stranger, "oauth_login?next=%2Fhub%2Fhome")
    token = token_of(world, stranger, "max")
    assert world.me(stranger)["name"] == "max"
    forget(world, "max")
    world.mark = len(world.hub.log())
    assert world.hub.operator("POST", "users/max/server").status_code in (400, 403)
    wait_until("the session ends", lambda: world.me(stranger) == {}, 30)
    assert by_token(world, token) == 403
    assert "max's account at GitHub was forgotten: the session ends" in world.told()


def test_a_server_that_runs_outlives_a_new_record_of_accounts(world):
    """As when the class moves to another GitHub."""
    world.sign_in("kit", 115)
    world.hub.operator("POST", "users/kit/server")
    wait_until(
        "the server is ready",
        lambda: world.hub.operator("GET", "users/kit").json()["servers"][""]["ready"],
        30,
    )
    (world.hub.state / "identities.json").write_text("{}")
    world.sign_in("kit", 116)
    with closing(sqlite3.connect(world.hub.state / "jupyterhub.sqlite")) as database:
        notes = database.execute(
            "select note from api_tokens join users on users.id = user_id where name = 'kit'"
        ).fetchall()
    assert ("Server at /user/kit/",) in notes


def forget(world, name: str, *options: str) -> str:
    file = world.hub.state / "identities.json"
    command = [
        sys.executable,
        "-B",
        "-m",
        "classhub.identities",
        "forget",
        "--file",
        str(file),
        *options,
        "--",
        name,
    ]
    done = subprocess.run(
        command, cwd=ROOT / "salt/hub/package", capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)["table"][name]


def test_an_account_of_two_people_is_refused(world):
    world.sign_in("eve", 107)
    page = world.sign_in("finn", 107)
    assert page.status_code == 403
    assert "as somebody else before" in sentence(page)
    assert "is eve's by its number and finn's by the roster" in world.told()
    assert "finn" not in world.identities


def test_a_damaged_record_lets_nobody_in_and_sends_nobody_out(world):
    browser = world.browser()
    world.sign_in("ada", 101, browser, "oauth_login?next=%2Fhub%2Fhome")
    file = world.hub.state / "identities.json"
    saved = file.read_text()
    try:
        file.write_text(saved[: len(saved) // 2])
        page = world.sign_in("ada", 101)
        assert page.status_code == 503
        assert "Nobody can sign in just now" in sentence(page)
        assert str(file) in world.told()
        wait_until(
            "her session is looked at",
            lambda: world.me(browser) and "Who is signed in stays so" in world.told(),
            30,
        )
    finally:
        file.write_text(saved)
    assert world.sign_in("ada", 101, path="oauth_login?next=%2Fhub%2Fhome").status_code == 200


def test_no_roster_lets_nobody_in(world):
    try:
        (world.hub.top / "logins.json").unlink()
        page = world.sign_in("ada", 101)
        assert (page.status_code, "Nobody can sign in" in sentence(page)) == (503, True)
        assert "logins.json" in world.told()
    finally:
        world.hub.logins(LOGINS)


def test_denied_consent(world):
    world.github.denies = True
    page = world.sign_in("ada", 101)
    assert page.status_code == 403
    assert "You did not let GitHub tell the class who you are. Sign in again" in sentence(page)
    assert "consent was denied" in world.told()


def test_what_a_link_says_is_not_shown(world):
    told = quote("Call 555-0100 to unlock your account")
    page = world.browser().get(
        f"{world.hub.url}/hub/oauth_callback?error=x&error_description={told}", timeout=60
    )
    assert page.status_code == 400
    assert "555" not in sentence(page)


FORGED = [
    "",
    "state=",
    "state=x",
    "state=%C3%A9",
    "state=" + base64.urlsafe_b64encode(b"1").decode(),
    "state=" + base64.urlsafe_b64encode(b'{"state_id": "x"}').decode(),
    "state=" + base64.urlsafe_b64encode(b"{}").decode(),
]


@pytest.mark.parametrize("query", FORGED)
@pytest.mark.parametrize("begun", [True, False])
def test_forged_state(world, begun, query):
    browser = world.browser()
    if begun:
        world.begun(browser)
    asked = len(world.github.asked)
    page = browser.get(f"{world.hub.url}/hub/oauth_callback?code=x&{query}", timeout=60)
    assert page.status_code == 400
    assert "too old, or was begun in another window" in sentence(page)
    assert len(world.github.asked) == asked


def test_a_sign_in_of_somebody_else_cannot_be_slipped_in(world):
    """Mallory's own code and state, in a link for ada."""
    world.github.who, world.github.accounts["mallory"] = "mallory", 666
    mallory = world.browser()
    page = mallory.get(f"{world.hub.url}/hub/oauth_login", allow_redirects=False, timeout=60)
    back = mallory.get(page.headers["Location"], allow_redirects=False, timeout=60)
    ada = world.browser()
    assert ada.get(back.headers["Location"], timeout=60).status_code == 400
    world.begun(ada)
    assert ada.get(back.headers["Location"], timeout=60).status_code == 400
    assert world.me(ada) == {}


def test_a_sign_in_happens_once(world):
    world.github.who = "ada"
    browser = world.browser()
    page = browser.get(f"{world.hub.url}/hub/oauth_login", allow_redirects=False, timeout=60)
    back = browser.get(page.headers["Location"], allow_redirects=False, timeout=60)
    link, state = back.headers["Location"], browser.cookies.copy()
    assert browser.get(link, allow_redirects=False, timeout=60).status_code == 302
    again = world.browser()
    again.cookies = state
    world.mark = len(world.hub.log())
    page = again.get(link, timeout=60)
    assert (page.status_code, "Sign in again." in sentence(page)) == (400, True)
    assert "the code is old or used" in world.told()


def test_a_lapsed_secret(world):
    world.github.secret = "a-new-one"
    page = world.sign_in("ada", 101)
    assert page.status_code == 503
    assert "GitHub does not accept this class just now. Tell the course staff." in sentence(page)
    assert "look at its client id and secret: 'incorrect_client_credentials'" in world.told()


TOKEN, USER = "/login/oauth/access_token", "/api/v3/user"
REFUSED = "GitHub does not accept this class just now"
SILENT = "GitHub does not answer just now. Try again in a few minutes."
ODD = [
    (TOKEN, 500, {}, SILENT),
    (USER, 500, {}, SILENT),
    (USER, 503, "<html>", SILENT),
    (USER, 429, {"message": "Too many requests"}, SILENT),
    (TOKEN, 200, "<html>", SILENT),
    (TOKEN, 200, [], SILENT),
    (TOKEN, 200, {}, SILENT),
    (TOKEN, 200, {"access_token": "x"}, SILENT),
    (USER, 200, [], SILENT),
    (USER, 200, {}, SILENT),
    (USER, 200, {"login": "ada"}, SILENT),
    (USER, 200, {"login": "ada", "id": "101"}, SILENT),
    (USER, 200, {"login": "ada", "id": True}, SILENT),
    (USER, 200, {"login": ["ada"], "id": 101}, SILENT),
    (TOKEN, 404, {"error": "Not Found"}, REFUSED),
    (TOKEN, 401, "", REFUSED),
    (USER, 401, {"message": "Bad credentials"}, REFUSED),
    (TOKEN, 400, {"error": "invalid_grant"}, "Sign in again."),
]


@pytest.mark.parametrize(("path", "status", "answer", "told"), ODD)
def test_a_github_that_is_out_of_order(world, path, status, answer, told):
    world.github.says[path] = (status, answer)
    page = world.sign_in("ada", 101)
    assert page.status_code == (400 if "again." in told and "minutes" not in told else 503)
    assert told in sentence(page)
    assert "Sign-in refused: GitHub" in world.told()
    assert "Traceback" not in world.told()


def test_a_github_that_does_not_answer(world):
    world.github.who = "ada"
    browser = world.browser()
    page = browser.get(f"{world.hub.url}/hub/oauth_login", allow_redirects=False, timeout=60)
    back = browser.get(page.headers["Location"], allow_redirects=False, timeout=60)
    world.github.awake.clear()
    world.mark = len(world.hub.log())
    page = browser.get(back.headers["Location"], timeout=60)
    assert (page.status_code, SILENT in sentence(page)) == (503, True)
    assert "Sign-in refused: GitHub: Timeout during request" in world.told()


@pytest.fixture
def enterprise(tmp_path):
    """A hub, and a GitHub Enterprise Server whose certificate a campus has signed."""
    hub = class_hub.ClassHub(tmp_path)
    hub.add("ada", 20000, "students")
    hub.logins({"ada": "ada"})
    try:
        with github.running(hub.callback, hub.certificate) as site:
            yield World(hub, site)
    finally:
        hub.close()


def start(world, **environment: str) -> None:
    settings = {"client_id": github.CLIENT, "client_secret": github.SECRET}
    settings["url"] = world.github.url
    world.hub.start({"authenticator": "github", "github": settings}, **environment)


def test_a_campus_authority_is_trusted_as_the_host_trusts_it(enterprise):
    """jupyterhub.service names the host's file, in which common.trust puts the campus's authority."""
    start(enterprise)
    page = enterprise.sign_in("ada", 101)
    assert (page.status_code, SILENT in sentence(page)) == (503, True)
    assert "CERTIFICATE_VERIFY_FAILED" in enterprise.told()
    enterprise.hub.stop()
    start(enterprise, SSL_CERT_FILE=str(enterprise.hub.certificate))
    browser = enterprise.browser()
    enterprise.sign_in("ada", 101, browser, "oauth_login?next=%2Fhub%2Fhome")
    assert enterprise.me(browser)["name"] == "ada"
    unit = (ROOT / "salt/hub/files/jupyterhub.service").read_text()
    assert "\nEnvironment=SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt\n" in unit


def test_a_github_that_is_down(enterprise):
    start(enterprise)
    browser = enterprise.browser()
    page = browser.get(f"{enterprise.hub.url}/hub/oauth_login", allow_redirects=False, timeout=60)
    back = browser.get(page.headers["Location"], allow_redirects=False, timeout=60)
    enterprise.github.leave()
    page = browser.get(back.headers["Location"], timeout=60)
    assert (page.status_code, SILENT in sentence(page)) == (503, True)
    assert "Connection refused" in enterprise.hub.log()


def test_an_account_that_is_not_there_yet(world):
    page = world.sign_in("late", 108)
    assert page.status_code == 403
    assert "the account late is not ready yet" in sentence(page)
    assert "late" not in world.identities
    assert "'late' is on the roster as late, which is no account" in world.told()
    world.hub.add("late", 20110, "students")
    assert world.sign_in("late", 108, path="oauth_login?next=%2Fhub%2Fhome").status_code == 200


def test_an_account_of_the_machine_that_is_in_no_group_of_the_class(world):
    page = world.sign_in("lost", 109)
    assert (page.status_code, "is not ready yet" in sentence(page)) == (403, True)


@pytest.mark.parametrize("name", ["root", "www-data"])
def test_system_accounts_are_nobody_even_if_the_roster_and_a_group_say_so(world, name):
    browser = world.browser()
    page = world.sign_in(name, 1, browser)
    assert page.status_code == 403
    assert name not in world.identities
    assert world.me(browser) == {}


def test_a_system_account_that_is_not_on_the_roster(world):
    assert "The account daemon at GitHub is not on the roster" in sentence(
        world.sign_in("daemon", 2)
    )


AWAY = [
    "https://evil.example/x",
    "//evil.example/x",
    "///evil.example/x",
    "/\\evil.example/x",
    "\\\\evil.example/x",
    "https:evil.example/x",
    "/\t/evil.example/x",
    "https:///evil.example/x",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("where", AWAY)
def test_nobody_is_sent_elsewhere(world, where):
    world.github.who, world.github.accounts["gil"] = "gil", 110
    browser = world.browser()
    page = browser.get(
        f"{world.hub.url}/hub/oauth_login?next={quote(where, safe='')}",
        allow_redirects=False,
        timeout=60,
    )
    back = browser.get(page.headers["Location"], allow_redirects=False, timeout=60)
    last = browser.get(back.headers["Location"], allow_redirects=False, timeout=60)
    assert last.status_code == 302
    assert re.match(r"/(?![/\\])", last.headers["Location"]), last.headers["Location"]


def test_who_is_dropped_is_signed_out_and_starts_nothing(world):
    browser = world.browser()
    world.sign_in("ida", 111, browser, "oauth_login?next=%2Fhub%2Fhome")
    assert world.me(browser)["name"] == "ida"
    token = token_of(world, browser, "ida")
    assert by_token(world, token) == 200

    world.hub.drop("ida")
    world.mark = len(world.hub.log())
    assert world.hub.operator("POST", "users/ida/server").status_code in (400, 403)
    assert world.hub.operator("GET", "users/ida").json()["servers"] == {}
    wait_until("her session ends", lambda: world.me(browser) == {}, 30)
    page = browser.get(f"{world.hub.url}/hub/home", timeout=60)
    assert "Sign in with GitHub" in sentence(page)
    assert by_token(world, token) == 403
    assert "ida is not on the roster any more" in world.told()
    page = world.sign_in("ida", 111)
    assert page.status_code == 403


def test_groups_follow_the_roster_in_a_live_session(world):
    browser = world.browser()
    world.sign_in("jo-new", 112, browser, "oauth_login?next=%2Fhub%2Fhome")
    assert world.me(browser)["groups"] == ["students"]
    world.hub.drop("jo")
    world.hub.change("group", "graders:x:", "jo")
    wait_until("jo is a grader", lambda: world.me(browser).get("groups") == ["graders"], 30)


def test_a_new_login_in_the_roster_counts_at_once(world):
    assert world.sign_in("kim", 113).status_code == 403
    world.hub.logins(LOGINS | {"kim": "kim"})
    try:
        page = world.sign_in("kim", 113, path="oauth_login?next=%2Fhub%2Fhome")
        assert page.status_code == 200
    finally:
        world.hub.logins(LOGINS)
