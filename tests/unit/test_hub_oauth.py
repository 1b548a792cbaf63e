"""Which classes a class may name for signing in elsewhere, and whom they let in."""

import asyncio
import contextlib
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from tornado import web
from traitlets.config import Config

from tests.support.loading import ROOT

import tests.support.hub  # noqa: F401  isort: skip

from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.google import GoogleOAuthenticator

from classhub import authenticator, config, identities
from classhub.oauth import Elsewhere, OAuth, Refusal, on_roster

LTI = "ltiauthenticator.lti13.auth.LTI13Authenticator"
ACCOUNT = SimpleNamespace(pw_uid=20001)


@pytest.fixture
def logins(tmp_path, monkeypatch):
    """The roster has ada, whose login is an address."""
    monkeypatch.setattr(
        authenticator, "roles_of", lambda name, groups: ["student"] if name == "ada" else []
    )
    monkeypatch.setattr(authenticator.pwd, "getpwnam", lambda name: ACCOUNT)
    file = tmp_path / "logins.json"
    file.write_text(json.dumps({"ada@class.example.edu": "ada"}), encoding="utf-8")
    return Config(Roster={"groups": {"student": "students"}}, Elsewhere={"logins_file": str(file)})


CLASSES = ["generic-oauth", "google", "azuread", "gitlab", "globus", "auth0", "cilogon"]


@pytest.mark.parametrize("name", CLASSES)
def test_classes_by_entry_point(name):
    kind = config.authenticator(name)
    assert kind.__mro__[1:3] == (OAuth, Elsewhere)
    assert kind.authenticate is OAuth.authenticate
    assert kind.check_allowed is Elsewhere.check_allowed
    assert kind.run_post_auth_hook is Elsewhere.run_post_auth_hook
    assert kind.refresh_user is authenticator.Roster.refresh_user


REFUSED = [
    ("dummy", "does not sign people in elsewhere"),
    ("pam", "does not sign people in elsewhere"),
    ("local-google", "does not sign people in elsewhere"),
    ("github", "there is hub:authenticator: github"),
    ("no.such.module", "No module named 'no'"),
    ("os.path.join", "must be a class"),
    ("json.JSONDecoder", "JSONDecoder does not sign people in elsewhere"),
]


@pytest.mark.parametrize(("name", "why"), REFUSED)
def test_classes_that_are_refused(name, why):
    with pytest.raises(config.ConfigurationError, match=f"hub:oauth:class is '{name}'.*{why}"):
        config.authenticator(name)


def signed_in(kind, c, **proved) -> dict | None:
    """Somebody has proved it to the class below."""

    class Proves(kind):
        async def authenticate(self, handler, data=None, **kwargs):
            return {"admin": None} | proved

    return asyncio.run(on_roster(Proves)(config=c).get_authenticated_user(None, None))


def test_lti_lets_in_who_is_on_the_roster(logins):
    """Only what a platform has proved is left out: no platform is at hand."""
    kind = config.authenticator(LTI)
    made = kind(config=logins, client_id={"1"}, issuer="https://lms.example.edu")
    assert made.login_url("/hub/") == "/hub/lti13/oauth_login"
    below = kind.__mro__[3]
    assert below.__name__ == "LTI13Authenticator"
    claims = {"email": "Ada@class.example.edu", "sub": "5"}
    model = asyncio.run(made.get_authenticated_user(None, claims))
    assert (model["name"], model["groups"]) == ("ada", ["students"])
    assert not model["admin"]
    assert model["auth_state"] == {"uid": 20001, "role": "student"}
    with pytest.raises(Refusal) as caught:
        asyncio.run(made.get_authenticated_user(None, claims | {"email": "eve@elsewhere.example"}))
    assert "The account eve@elsewhere.example at LTI 1.3 is not" in caught.value.jupyterhub_message


def test_nothing_of_what_was_proved_is_kept(logins):
    state = {"access_token": "secret", "oauth_user": {"email": "ada@class.example.edu"}}
    model = signed_in(GenericOAuthenticator, logins, name="ada@class.example.edu", auth_state=state)
    assert model["auth_state"] == {"uid": 20001, "role": "student"}
    assert model["groups"] == ["students"]


def test_a_class_still_refuses_what_it_refuses(logins):
    """Google says with each address whether it is verified."""
    address = "ada@class.example.edu"
    google = {"email": address, "domain": "class.example.edu", "verified_email": True}
    model = signed_in(
        GoogleOAuthenticator, logins, name=address, auth_state={"google_user": google}
    )
    assert model["name"] == "ada"
    google["verified_email"] = False
    with pytest.raises(web.HTTPError, match="unverified email") as caught:
        signed_in(GoogleOAuthenticator, logins, name=address, auth_state={"google_user": google})
    assert caught.value.status_code == 403
    google["verified_email"] = True
    logins.ClassProves.hosted_domain = ["other.example.edu"]
    proved = {"name": address, "auth_state": {"google_user": google}}
    assert signed_in(GoogleOAuthenticator, logins, **proved) is None


def test_nobody_has_proved_anything(logins):
    class Nothing(GenericOAuthenticator):
        async def authenticate(self, handler, data=None, **kwargs):
            return None

    made = on_roster(Nothing)(config=logins)
    assert asyncio.run(made.get_authenticated_user(None, None)) is None


# -- numbers of accounts


@pytest.mark.parametrize("text", ["", "[]", "{", '{"ada": 101}', '{"ada": null}'])
def test_a_damaged_record_is_not_an_empty_one(tmp_path, text):
    file = tmp_path / "identities.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(identities.Damaged, match=str(file)), identities.opened(file):
        pass
    assert file.read_text(encoding="utf-8") == text


def test_a_sign_in_that_fails_changes_no_record(tmp_path):
    file = tmp_path / "identities.json"
    with contextlib.suppress(Refusal), identities.opened(file) as known:
        known["ada"] = "101"
        raise Refusal(403, "no")
    assert not file.exists()


def test_the_record_is_for_the_hub_alone(tmp_path):
    file = tmp_path / "identities.json"
    with identities.opened(file) as known:
        known["ada"] = "101"
    assert file.stat().st_mode & 0o777 == 0o600
    assert identities.read(file) == {"ada": "101"}


def test_root_forgets_as_the_owner_of_the_directory(tmp_path):
    """A link there leads root nowhere: nobody may write what it leads to."""
    outside = tmp_path / "outside"
    outside.write_text("precious", encoding="utf-8")
    folder = tmp_path / "state"
    folder.mkdir()
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_mode & 0o007 == 0:
            path.chmod(path.stat().st_mode | 0o011)
    (folder / "identities.json").write_text('{"ada": "101"}', encoding="utf-8")
    (folder / "identities.new").symlink_to(outside)
    for path in (folder, folder / "identities.json"):
        path.chmod(0o700)
        subprocess.run(["chown", "65534:65534", str(path)], check=True)
    command = [sys.executable, "-B", "-m", "classhub.identities", "forget"]
    words = ["--file", str(folder / "identities.json"), "--", "ada"]
    package = ROOT / "salt/hub/package"
    done = subprocess.run(
        [*command, *words], cwd=package, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "identities.new" in json.loads(done.stdout)["error"]
    assert outside.read_text(encoding="utf-8") == "precious"
    (folder / "identities.new").unlink()
    done = subprocess.run(
        [*command, *words], cwd=package, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["table"] == {"ada": "done: forgotten; the next sign-in counts"}
    assert (folder / "identities.json").stat().st_uid == 65534
