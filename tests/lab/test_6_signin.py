"""The class signs people in with GitHub: a server of this machine that the hub's host reaches, in GitHub's place."""

from collections.abc import Iterator

import pytest

from lab.common import GATEWAY
from tests.lab import journey
from tests.support import github, lab
from tests.support.client import Site, Student

LOGINS = "/etc/jupyterhub/logins.json"


def _apply(site: Site) -> dict[str, lab.Applied]:
    applied = lab.apply("hub")
    assert not lab.lines(applied, "failed")
    lab.wait_for_hub(site)
    return applied


@pytest.fixture
def signing_in(quiet: Site) -> Iterator[github.GitHub]:
    """The class with GitHub's sign-in, and as it was before afterwards."""
    with github.running(f"{quiet.url}/hub/oauth_callback", address=GATEWAY) as site:
        client = {"client_id": github.CLIENT, "client_secret": github.SECRET, "url": site.url}
        try:
            with lab.settings({"hub": {"authenticator": "github", "github": client}}):
                applied = _apply(quiet)
                assert github.SECRET not in str(applied)
                yield site
                lab.salt("hub", "classhub.forget_identity", "s05")
        finally:
            _apply(quiet)


def test_a_student_signs_in_with_github_and_works(signing_in, quiet):
    assert lab.on("hub", "stat", "-c", "%U:%G %a", LOGINS) == "root:jupyterhub 640"
    secrets = "/etc/jupyterhub/secrets.env"
    assert lab.on("hub", "stat", "-c", "%U:%G %a", secrets) == "root:root 600"

    mallory = Student("mallory", quiet)
    signing_in.who, signing_in.accounts = "mallory", {"mallory": 666, "S05": 101}
    page = mallory.page("/hub/oauth_login")
    assert page.status_code == 403
    assert "mallory at GitHub is not on the roster" in page.text

    person = Student("s05", quiet)
    assert "Sign in with GitHub" in person.page("/hub/login").text
    signing_in.who = "S05"
    page = person.page("/hub/oauth_login?next=%2Fhub%2Fhome")
    assert (page.status_code, page.url) == (200, person.hub("home"))
    person.take_token()
    journey.start(person)
    kernel = journey.work(person)
    journey.identity(person, kernel)
    journey.file_on_hub(person)
    person.stop()

    # another account of that name; forgotten, it would be hers
    signing_in.accounts["S05"] = 102
    assert Student("s05", quiet).page("/hub/oauth_login").status_code == 403
    told = lab.salt("hub", "classhub.forget_identity", "s05")["hub"]
    assert told["table"] == {"s05": "done: forgotten; the next sign-in counts"}
    page = Student("s05", quiet).page("/hub/oauth_login?next=%2Fhub%2Fhome")
    assert page.status_code == 200


def test_the_class_is_as_it_was(site):
    applied = lab.apply("hub")
    assert not lab.lines(applied, "failed")
    assert not lab.lines(applied, "changed")
    assert "username_input" in Student("s05", site).page("/hub/login").text
