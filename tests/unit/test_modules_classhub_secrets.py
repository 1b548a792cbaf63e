"""Secrets put anew: the one that was asked for, whole, with the owner that it had, and shown nowhere."""

import os
import re

import pytest
from cryptography.fernet import InvalidToken
from jupyterhub.app import JupyterHub
from jupyterhub.crypto import CryptKeeper
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loading import ROOT, load

KEYS = {
    "proxy": "CONFIGPROXY_AUTH_TOKEN",
    "operator": "CLASSHUB_ADMIN_TOKEN",
    "culler": "CLASSHUB_CULLER_TOKEN",
    "proxy-sync": "CLASSHUB_PROXY_SYNC_TOKEN",
    "formgrader": "CLASSHUB_FORMGRADER_TOKEN",
    "dashboard": "CLASSHUB_DASHBOARD_TOKEN",
    "doctor": "CLASSHUB_DOCTOR_TOKEN",
    "crypt": "JUPYTERHUB_CRYPT_KEY",
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    module = load("modules", "classhub_secrets")
    files = load("utils", "classhub_file")
    functions = {"classhub_file.owner": files.owner, "classhub_file.write": files.write}
    monkeypatch.setattr(module, "__utils__", functions, raising=False)
    monkeypatch.setattr(module, "__opts__", {"id": "hub"}, raising=False)
    pillar = {"classhub": {"proxy_host": {"id": "proxy"}}}
    monkeypatch.setattr(module, "__pillar__", pillar, raising=False)
    monkeypatch.setattr(module, "_FILE", tmp_path / "secrets.env")
    monkeypatch.setattr(module, "_COOKIE", tmp_path / "cookie_secret")
    (tmp_path / "secrets.env").write_text("".join(f"{key}={key[0]}\n" for key in KEYS.values()))
    (tmp_path / "cookie_secret").write_text("c" * 64 + "\n")
    for path in tmp_path.iterdir():
        path.chmod(0o600)
    return module


def values(path):
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


@pytest.mark.parametrize("name", KEYS)
def test_one_secret_is_put_anew_and_the_others_stay(module, tmp_path, name):
    path = tmp_path / "secrets.env"
    before = values(path)
    told = module.rotate(name)
    after = values(path)
    assert list(after) == list(before)
    assert [key for key in after if after[key] != before[key]] == [KEYS[name]]
    assert len(after[KEYS[name]].split(";")[0]) == 64
    assert after[KEYS[name]] not in str(told)
    assert told["changed"] is True
    assert told["then"] == ["salt hub state.apply"]
    assert oct(path.stat().st_mode)[-3:] == "600"
    assert path.stat().st_uid == os.getuid()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cookie_secret", "secrets.env"]


@pytest.mark.parametrize("name", ["cookie", "authority", *KEYS])
def test_prediction_changes_nothing_and_says_whom_it_disturbs(module, tmp_path, name):
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    told = module.rotate(name, test=True)
    assert (told["changed"], bool(told["disturbs"])) == (False, True)
    assert {path: path.read_text() for path in tmp_path.iterdir()} == before


def test_only_the_proxys_own_secret_cuts_students(module):
    """By what the units read: a restart of the proxy drops every connection."""
    cutting = [name for name in KEYS if "jupyterhub-proxy" in module.rotate(name, True)["restarts"]]
    assert cutting == ["proxy"]
    unit = (ROOT / "salt/hub/files/jupyterhub-proxy.service").read_text()
    assert "secrets.env" not in unit
    assert "secrets.env" not in (ROOT / "salt/hub/proxy.sls").read_text()


def test_old_crypt_key_can_still_be_read_with_once(module, tmp_path):
    path = tmp_path / "secrets.env"
    module.rotate("crypt")
    first = values(path)["JUPYTERHUB_CRYPT_KEY"].split(";")
    assert first[1:] == ["J"]
    module.rotate("crypt")
    assert values(path)["JUPYTERHUB_CRYPT_KEY"].split(";")[1:] == first[:1]


def test_jupyterhub_reads_with_both_crypt_keys_and_writes_with_the_new_one(
    module, tmp_path, monkeypatch
):
    path = tmp_path / "secrets.env"
    path.write_text(f"JUPYTERHUB_CRYPT_KEY={'a' * 64}\n")

    def keeper():
        monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", values(path)["JUPYTERHUB_CRYPT_KEY"])
        return CryptKeeper(n_threads=1)

    before = keeper()._encrypt({"token": "t"})
    module.rotate("crypt")
    after = keeper()
    assert after._decrypt(before) == {"token": "t"}
    path.write_text(f"JUPYTERHUB_CRYPT_KEY={'a' * 64}\n")
    with pytest.raises(InvalidToken):
        keeper()._decrypt(after._encrypt({"token": "t"}))


def test_jupyterhub_takes_the_new_cookie_secret(module, tmp_path, monkeypatch):
    monkeypatch.delenv("JPY_COOKIE_SECRET", raising=False)
    module.rotate("cookie")
    hub = JupyterHub(cookie_secret_file=str(tmp_path / "cookie_secret"))
    hub.init_secrets()
    assert hub.cookie_secret == bytes.fromhex((tmp_path / "cookie_secret").read_text())


def test_every_secret_that_the_hub_makes_can_be_put_anew(module):
    text = (ROOT / "salt/hub/config.sls").read_text()
    made = re.search(r"- keys:\n((?: +- \w+\n)+)", text)[1].split()[1::2]
    assert "CONFIGPROXY_AUTH_TOKEN" in made
    assert set(made) <= {key for key, _, _ in module._SECRETS.values()}


def test_cookie(module, tmp_path):
    told = module.rotate("cookie")
    text = (tmp_path / "cookie_secret").read_text()
    assert len(bytes.fromhex(text)) == 32
    assert text != "c" * 64 + "\n"
    assert told["restarts"] == ["jupyterhub"]
    assert told["disturbs"].startswith("Everybody has to sign in again.")


def test_authority_is_left_to_certificates(module, monkeypatch):
    replaced = []
    functions = {"classhub_certificate.replace_authority": lambda: replaced.append(1)}
    monkeypatch.setattr(module, "__salt__", functions, raising=False)
    then = module.rotate("authority")["then"]
    assert then == ["salt hub state.apply", "salt proxy state.apply"]
    assert replaced == [1]


def test_unknown_secret(module):
    with pytest.raises(SaltInvocationError, match="'pasword' is not one of cookie, proxy"):
        module.rotate("pasword")


def test_secret_that_this_host_does_not_have(module, tmp_path):
    (tmp_path / "secrets.env").write_text("OTHER=1\n")
    with pytest.raises(CommandExecutionError, match="has no CLASSHUB_CULLER_TOKEN"):
        module.rotate("culler")
    (tmp_path / "secrets.env").unlink()
    (tmp_path / "cookie_secret").unlink()
    for name in ("culler", "cookie"):
        with pytest.raises(CommandExecutionError, match="apply the states of the hub first"):
            module.rotate(name)


def test_rotation_that_is_cut_short_leaves_the_old_secret(module, tmp_path, monkeypatch):
    before = (tmp_path / "secrets.env").read_text()

    def killed(*args):
        raise OSError("killed")

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(CommandExecutionError):
        module.rotate("proxy")
    assert (tmp_path / "secrets.env").read_text() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cookie_secret", "secrets.env"]
