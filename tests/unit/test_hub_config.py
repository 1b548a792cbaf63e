"""The hub's settings file becomes JupyterHub's configuration."""

import json
from types import SimpleNamespace

import pytest
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader

import tests.support.hub  # noqa: F401  isort: skip

from jupyterhub._data import DATA_FILES_PATH
from traitlets.config import Config

from classhub import config
from classhub.authenticator import LabAuthenticator
from classhub.oauth import Elsewhere, GitHub
from classhub.spawner import ClassSpawner

TEMPLATES = f"{DATA_FILES_PATH}/templates"
SETTINGS = {
    "address": "10.0.0.1",
    "domain": "class.example.edu",
    "public_certificate": False,
    "groups": {"student": "students", "grader": "graders", "instructor": "instructors"},
    "staff": ["graders", "instructors"],
    "access_servers": ["prof"],
    "course": {"id": "intro", "title": "Fish & <Chips>", "timezone": "Europe/Paris"},
    "exchange": "/mnt/exchange",
    "server": {
        "memory": "1G",
        "memory_guarantee": "512M",
        "cpus": 0,
        "pids": 300,
        "tmp": "64M",
        "default_url": "/lab",
        "start_timeout": 120,
        "pending_timeout": 15,
        "poll_interval": 10,
    },
    "hub": {
        "port": 8000,
        "api_port": 8081,
        "proxy_api_port": 8001,
        "formgrader_port": 8010,
        "dashboard_port": 8011,
        "authenticator": "lab",
        "lab_password": "example",
        "active_server_limit": 3,
        "concurrent_spawn_limit": 20,
    },
}


@pytest.fixture(autouse=True)
def tokens(monkeypatch):
    monkeypatch.setenv("CLASSHUB_ADMIN_TOKEN", "a" * 64)
    monkeypatch.setenv("CLASSHUB_PROXY_SYNC_TOKEN", "b" * 64)
    monkeypatch.setenv("CLASSHUB_FORMGRADER_TOKEN", "c" * 64)
    monkeypatch.setenv("CLASSHUB_CULLER_TOKEN", "d" * 64)
    monkeypatch.setenv("CLASSHUB_DASHBOARD_TOKEN", "e" * 64)
    monkeypatch.setenv("CLASSHUB_DOCTOR_TOKEN", "f" * 64)


def configured(tmp_path, **sections) -> Config:
    file = tmp_path / "classhub.json"
    file.write_text(json.dumps(SETTINGS | sections), encoding="utf-8")
    c = Config()
    config.configure(c, file, tmp_path)
    return c


def test_addresses(tmp_path):
    hub = configured(tmp_path).JupyterHub
    assert hub.bind_url == "http://127.0.0.1:8000"
    assert hub.hub_bind_url == hub.hub_connect_url == "http://10.0.0.1:8081"
    assert hub.public_url == "https://class.example.edu/"


def test_servers_and_proxy_outlive_the_hub(tmp_path):
    c = configured(tmp_path)
    assert c.JupyterHub.cleanup_servers is False
    assert c.JupyterHub.cleanup_proxy is False
    assert c.ConfigurableHTTPProxy.should_start is False
    assert c.ConfigurableHTTPProxy.api_url == "http://127.0.0.1:8001"


def test_spawner_gets_the_server_section(tmp_path):
    spawner = ClassSpawner(config=configured(tmp_path))
    assert spawner.mem_limit == 2**30
    assert spawner.mem_guarantee == 2**29
    assert spawner.cpu_limit is None
    assert spawner.pids_limit == 300
    assert spawner.tmp_size == 64 * 2**20
    assert spawner.poll_interval == 10
    assert spawner.default_url == "/lab"
    assert spawner.course == "intro"
    assert spawner.exchange == "/mnt/exchange"


def test_a_restarted_hub_is_patient_with_a_server_that_does_not_answer(tmp_path):
    """NFS 4 alone lets writes hang for 90 s after a boot of the hub, and the server with them."""
    assert ClassSpawner(config=configured(tmp_path)).http_timeout >= 300


def test_cpu_limit(tmp_path):
    c = configured(tmp_path, server=SETTINGS["server"] | {"cpus": 1.5})
    assert ClassSpawner(config=c).cpu_limit == 1.5


def test_nobody_is_admin_and_the_proxy_token_is_for_the_proxy_alone(tmp_path):
    c = configured(tmp_path)
    scopes = {role["name"]: set(role["scopes"]) for role in c.JupyterHub.load_roles}
    assert c.Authenticator.admin_users == set()
    assert scopes["proxy-sync"] == {"proxy"}
    assert not {scope for scope in scopes["operator"] if scope.startswith("admin:")}
    assert not {"tokens", "shutdown"} & scopes["operator"]


def test_the_culler_may_list_and_stop_servers_and_not_enter_them(tmp_path):
    hub = configured(tmp_path).JupyterHub
    (role,) = [entry for entry in hub.load_roles if entry["name"] == "culler"]
    assert set(role["scopes"]) == {"list:users", "read:servers", "delete:servers"}
    assert role["services"] == ["culler"]
    assert {"name": "culler", "api_token": "d" * 64} in hub.services


PAGES = [("formgrader", 8010, "c"), ("dashboard", 8011, "e")]


@pytest.mark.parametrize(("name", "port", "token"), PAGES)
def test_pages_for_staff_are_for_graders_and_instructors(tmp_path, name, port, token):
    hub = configured(tmp_path).JupyterHub
    (service,) = [entry for entry in hub.services if entry["name"] == name]
    assert service["url"] == f"http://127.0.0.1:{port}"
    assert service["api_token"] == token * 64
    (role,) = [entry for entry in hub.load_roles if entry["name"] == "pages"]
    assert role["groups"] == ["graders", "instructors"]
    assert f"access:services!service={name}" in role["scopes"]
    assert "services" not in role


@pytest.mark.parametrize(("info", "shown"), [({"title": "Grade"}, "Grade"), ({}, "formgrader")])
def test_services_have_titles_in_the_menu(info, shown):
    own = FileSystemLoader([config.TEMPLATES, TEMPLATES])
    theirs = PrefixLoader({"templates": FileSystemLoader(TEMPLATES)})
    page = Environment(loader=ChoiceLoader([theirs, own]), autoescape=True).get_template(
        "page.html"
    )
    service = SimpleNamespace(name="formgrader", href="/services/formgrader/", info=info)
    line = "".join(page.blocks["service"](page.new_context({"service": service})))
    assert f'href="/services/formgrader/">{shown}</a>' in line


def test_title_is_text(tmp_path):
    shown = configured(tmp_path).JupyterHub.template_vars["announcement_login"]
    assert shown == "Fish &amp; &lt;Chips&gt;"


def test_lab_authenticator(tmp_path):
    c = configured(tmp_path)
    assert c.JupyterHub.authenticator_class is LabAuthenticator
    groups = LabAuthenticator(config=c).groups
    assert groups == SETTINGS["groups"] | {"probe": "classhub-probe"}


def test_lab_authenticator_sees_the_certificate(tmp_path):
    with pytest.raises(ValueError, match="real certificate"):
        LabAuthenticator(config=configured(tmp_path, public_certificate=True))


GITHUB = {"client_id": "Iv1.example", "client_secret": "not-a-secret", "url": "https://github.com"}


def with_hub(tmp_path, **hub) -> Config:
    return configured(tmp_path, hub=SETTINGS["hub"] | hub)


def test_github(tmp_path):
    c = with_hub(tmp_path, authenticator="github", github=GITHUB)
    made = c.JupyterHub.authenticator_class(config=c)
    assert isinstance(made, GitHub)
    assert made.groups == SETTINGS["groups"] | {"probe": "classhub-probe"}
    assert (made.client_id, made.client_secret) == ("Iv1.example", "not-a-secret")
    assert made.authorize_url == "https://github.com/login/oauth/authorize"
    assert made.userdata_url == "https://api.github.com/user"
    assert made.oauth_callback_url == "https://class.example.edu/hub/oauth_callback"
    assert made.scope == []
    assert made.enable_pkce
    assert made.logins_file == str(tmp_path / "logins.json")
    assert made.identities_file == str(tmp_path / "identities.json")


def test_github_of_a_campus(tmp_path):
    github = GITHUB | {"url": "https://github.example.edu"}
    made = GitHub(config=with_hub(tmp_path, authenticator="github", github=github))
    assert made.token_url == "https://github.example.edu/login/oauth/access_token"
    assert made.userdata_url == "https://github.example.edu/api/v3/user"


@pytest.mark.parametrize("kind", ["lab", "github"])
def test_who_leaves_the_roster_is_out(tmp_path, kind):
    c = with_hub(tmp_path, authenticator=kind, github=GITHUB)
    made = c.JupyterHub.authenticator_class(config=c)
    assert made.auth_refresh_age == 300
    assert made.auth_refresh_strict
    assert made.refresh_pre_spawn
    assert made.enable_auth_state
    assert made.manage_groups


OAUTH = {"client_id": "class", "authorize_url": "https://id.example.edu/auth", "scope": ["openid"]}


def oauth(tmp_path, name, secret="", **settings) -> Config:
    given = {"class": name, "client_secret": secret, "settings": settings}
    return with_hub(tmp_path, authenticator="oauth", oauth=given)


def test_another_place_to_sign_in(tmp_path):
    c = oauth(tmp_path, "generic-oauth", "not-a-secret", **OAUTH, login_service="the campus")
    made = c.JupyterHub.authenticator_class(config=c)
    assert isinstance(made, Elsewhere)
    assert made.groups == SETTINGS["groups"] | {"probe": "classhub-probe"}
    assert (made.client_id, made.client_secret) == ("class", "not-a-secret")
    assert (made.scope, made.login_service) == (["openid"], "the campus")
    assert made.oauth_callback_url == "https://class.example.edu/hub/oauth_callback"
    assert made.logins_file == str(tmp_path / "logins.json")


def test_sets_are_lists_in_the_settings(tmp_path):
    c = oauth(tmp_path, "ltiauthenticator.lti13.auth.LTI13Authenticator", client_id=["1", "2"])
    assert c.JupyterHub.authenticator_class(config=c).client_id == {"1", "2"}


def test_a_setting_that_the_class_does_not_have(tmp_path):
    with pytest.raises(config.ConfigurationError, match="no setting clientid; did you mean client"):
        oauth(tmp_path, "generic-oauth", clientid="x")
    with pytest.raises(config.ConfigurationError, match="has no setting client_secret") as caught:
        oauth(tmp_path, "ltiauthenticator.lti13.auth.LTI13Authenticator", "not-a-secret")
    assert "not-a-secret" not in str(caught.value)


def test_unknown_authenticator(tmp_path):
    with pytest.raises(config.ConfigurationError, match="known are: lab"):
        configured(tmp_path, hub=SETTINGS["hub"] | {"authenticator": "pam"})


MOUNTS = r"""/dev/sda1 / ext4 rw 0 0
hub:/home /srv/home nfs4 rw 0 0
hub:/x /srv/with\040space nfs rw 0 0
/dev/sdb1 /srv/home/local ext4 rw 0 0
"""


@pytest.mark.parametrize("path", ["/srv/home/state", "/srv/with space"])
def test_database_on_a_network_filesystem_is_refused(tmp_path, path):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS, encoding="utf-8")
    with pytest.raises(config.ConfigurationError, match="network filesystem"):
        config.refuse_network_filesystem(path, mounts)


@pytest.mark.parametrize("path", ["/var/lib/jupyterhub", "/srv/home/local/x", "/srv/homework"])
def test_database_on_a_disk(tmp_path, path):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS, encoding="utf-8")
    config.refuse_network_filesystem(path, mounts)
