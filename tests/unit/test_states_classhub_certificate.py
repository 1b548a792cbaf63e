"""States of certificates: acted upon once, predicted, renewed in time, and no key in a result."""

import datetime
import grp
import os
import pwd
import stat
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

certificates = load("utils", "classhub_certificate")
files = load("utils", "classhub_file")
NAME = "hub.classhub.internal"
DOMAIN = "class.example.edu"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The execution module, with its files below a directory."""
    module = load("modules", "classhub_certificate")
    monkeypatch.setattr(module, "__utils__", utils(), raising=False)
    monkeypatch.setattr(module, "__pillar__", {"classhub": {"domain": DOMAIN}}, raising=False)
    monkeypatch.setattr(module, "_AUTHORITIES", tmp_path / "ca")
    monkeypatch.setattr(module, "_SHOWN", tmp_path / "tls")
    return module


def utils(found=None):
    return {
        **{f"classhub_certificate.{name}": getattr(certificates, name)
           for name in ("authority", "issue", "described", "is_issued_by", "is_for", "public")},
        **{f"classhub_file.{name}": getattr(files, name) for name in ("owner", "write")},
        "classhub_wait.until": lambda probe, timeout, what: probe() or (found() if found and timeout else None),
    }  # fmt: skip


@pytest.fixture
def state(module, monkeypatch):
    state = load("states", "classhub_certificate")
    functions = {f"classhub_certificate.{name}": getattr(module, name) for name in ("shown",)}
    monkeypatch.setattr(state, "__salt__", functions, raising=False)
    monkeypatch.setattr(state, "__utils__", utils(), raising=False)
    monkeypatch.setattr(state, "__opts__", {"test": False}, raising=False)
    return state


@pytest.fixture
def owner():
    return {
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "group": grp.getgrgid(os.getgid()).gr_name,
    }


@pytest.fixture
def ca(tmp_path):
    (tmp_path / "ca").mkdir()
    return tmp_path / "ca"


def predict(state, monkeypatch, act):
    with monkeypatch.context() as patched:
        patched.setattr(state, "__opts__", {"test": True})
        return act()


def at(days, monkeypatch):
    """Certificates that are made in so many days."""
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    return monkeypatch.setattr(certificates, "_now", lambda: then)


# -- the hub's authority ----------------------------------------------------------------------------------------------


def test_authority_and_its_follower_are_made_once(state, ca, monkeypatch):
    def act():
        return state.authority(str(ca))

    predicted = predict(state, monkeypatch, act)
    assert (predicted["result"], list(ca.iterdir())) == (None, [])
    done = act()
    assert (done["result"], done["changes"]) == (True, {"current.pem": "made", "next.pem": "made"})
    assert "BEGIN" not in str(done)
    assert {stat.S_IMODE(path.stat().st_mode) for path in ca.iterdir()} == {0o600}
    before = {path: path.read_text() for path in ca.iterdir()}
    assert act()["changes"] == {}
    assert {path: path.read_text() for path in ca.iterdir()} == before


def test_bundle_has_both_authorities_and_no_key(state, module, ca):
    with pytest.raises(CommandExecutionError, match="no authority"):
        module.authorities()
    state.authority(str(ca))
    bundle = module.authorities()
    assert bundle.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE" not in bundle


def test_certificate_of_the_hub_is_issued_once(state, ca, owner, tmp_path, monkeypatch):
    def act(subject=NAME):
        return state.issued(
            str(tmp_path / "hub.pem"), f"{ca}/current.pem", subject, owner["user"], owner["group"]
        )

    assert predict(state, monkeypatch, act)["result"] is None
    assert act()["result"] is False, "there is no authority"
    state.authority(str(ca))
    assert act()["changes"] == {"hub.pem": "issued: it was not there"}
    assert act()["changes"] == {}
    assert stat.S_IMODE((tmp_path / "hub.pem").stat().st_mode) == 0o600
    assert act("other.internal")["changes"] == {"hub.pem": f"issued: it was for {NAME}"}
    (tmp_path / "hub.pem").chmod(0o644)
    assert act("other.internal")["changes"] == {"hub.pem": "issued: its owner or mode was another"}
    (tmp_path / "hub.pem").write_text("half")
    assert act("other.internal")["changes"] == {"hub.pem": "issued: it could not be read"}


@pytest.mark.parametrize(("days", "anew"), [(330, False), (340, True), (400, True)])
def test_certificate_of_the_hub_is_renewed_in_time(
    state, ca, owner, tmp_path, monkeypatch, days, anew
):
    def act():
        return state.issued(str(tmp_path / "hub.pem"), f"{ca}/current.pem", NAME, **owner)

    state.authority(str(ca))
    act()
    at(days, monkeypatch)
    assert bool(act()["changes"]) is anew
    assert act()["changes"] == {}


def test_rotation_of_the_authority(state, module, ca, owner, tmp_path):
    """What the proxy has trusted all the time signs from now on; what signed is trusted until the proxy's run."""

    def hub():
        state.authority(str(ca))
        return state.issued(str(tmp_path / "hub.pem"), f"{ca}/current.pem", NAME, **owner)

    hub()
    trusted = module.authorities()
    module.replace_authority()
    with pytest.raises(CommandExecutionError, match="apply the states of the hub first"):
        module.replace_authority()  # a second time, before the one that follows is made
    assert hub()["changes"] == {"hub.pem": "issued: the authority is another"}
    issued = (tmp_path / "hub.pem").read_text()
    first, second = trusted.split("-----END CERTIFICATE-----\n")[:2]
    end = "-----END CERTIFICATE-----\n"
    assert certificates.is_issued_by(issued, second + end)
    assert not certificates.is_issued_by(issued, first + end)
    assert first not in module.authorities()
    assert second in module.authorities()
    assert hub()["changes"] == {}


# -- the proxy trusts it ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="the file is root's")
def test_proxy_waits_for_the_authority_and_follows_it(state, tmp_path, monkeypatch):
    path, mine, waited = tmp_path / "hub-ca.crt", {}, []

    def act():
        return state.trusted(str(path), "hub", 900)

    state.__salt__["mine.get"] = lambda hub, name: mine
    assert predict(state, monkeypatch, act)["result"] is None
    failed = act()
    assert (failed["result"], failed["changes"]) == (False, {})
    assert failed["comment"] == "hub published no authority in 900 s; apply the states of hub"

    def comes():
        waited.append(mine.update(hub="first\n"))
        return "first\n"

    monkeypatch.setattr(state, "__utils__", utils(comes))
    assert act()["changes"] == {"hub-ca.crt": "authorities of hub"}
    assert waited, "it did not wait"
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("first\n", 0o644)
    assert act()["changes"] == {}
    mine["hub"] = "second\n"
    assert predict(state, monkeypatch, act)["changes"]
    assert act()["changes"]
    assert path.read_text() == "second\n"
    mine.clear()
    kept = act()
    assert (kept["result"], kept["changes"]) == (True, {}), "the master forgot; the proxy does not"


# -- what students see ------------------------------------------------------------------------------------------------


@pytest.fixture
def tls(tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir()
    return folder


def show(tls, name=DOMAIN, key=""):
    issued = certificates.issue(certificates.authority(), name)
    (tls / "class.crt").write_text(certificates.public(issued))
    (tls / "class.key").write_text(key or issued)


def watch(state, tls):
    ret = state.watched(str(tls), DOMAIN, 21)
    assert ret["changes"] == {}
    return ret


def test_a_good_certificate(state, module, tls):
    show(tls)
    ret = watch(state, tls)
    assert ret["result"] is True
    assert ret["comment"].startswith("The certificate is good until ")
    assert "warnings" not in ret
    told = module.shown()
    assert (told["is_for_domain"], told["key_fits"], told["self_signed"]) == (True, True, False)
    assert "PRIVATE" not in str(told)


def test_one_that_ends_soon_is_a_warning(state, tls, monkeypatch):
    show(tls)
    at(360, monkeypatch)
    ret = watch(state, tls)
    assert ret["result"] is True
    (warning,) = ret["warnings"]
    assert warning.startswith(f"The certificate of {DOMAIN} ends on ")
    assert warning.endswith("(4 days). Renew it.")


def test_an_expired_one_is_a_failure(state, tls, monkeypatch):
    show(tls)
    at(366, monkeypatch)
    ret = watch(state, tls)
    assert ret["result"] is False
    assert ret["comment"].startswith(f"The certificate of {DOMAIN} has expired: ")


def test_one_of_another_name_or_key_is_a_failure(state, tls):
    show(tls, "other.example.edu")
    assert watch(state, tls)["comment"] == (
        f"The certificate is for other.example.edu, not for {DOMAIN}"
    )
    show(tls, key=certificates.authority())
    assert "class.key does not belong to class.crt" in watch(state, tls)["comment"]


def test_none_is_a_failure_but_in_a_prediction(state, tls, monkeypatch):
    assert watch(state, tls)["result"] is False
    assert predict(state, monkeypatch, lambda: watch(state, tls))["result"] is True


# -- by ACME: tests/functional/test_acme.py has the rest ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "environment"),
    [("REQUESTS_CA_BUNDLE=/ca.crt\n", {"REQUESTS_CA_BUNDLE": "/ca.crt"}), ("# nothing\n", {})],
)
def test_certbot_that_fails_is_quoted_with_what_to_do(state, tmp_path, written, environment):
    asked = []

    def certbot(command, **kwargs):
        asked.append((command, kwargs))
        return {"retcode": 1, "stdout": "", "stderr": "Some challenges have failed."}

    state.__salt__["cmd.run_all"] = certbot
    (tmp_path / "environment").write_text(written)
    ret = state.obtained(
        DOMAIN, f"{tmp_path}/cli.ini", "https://x/dir", f"{tmp_path}/live/{DOMAIN}", "/deploy", "/c"
    )
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "the class goes on with the one that it has" in ret["comment"]
    assert "Some challenges have failed." in ret["comment"]
    assert DOMAIN in ret["comment"]
    ((command, kwargs),) = asked
    assert command[:2] == ["certbot", "certonly"]
    assert kwargs == {"env": environment, "python_shell": False}


def obtained_before(tmp_path, name=DOMAIN, server="https://x/dir"):
    live = tmp_path / "live" / DOMAIN
    live.mkdir(parents=True)
    (tmp_path / "renewal").mkdir()
    (tmp_path / "renewal" / f"{DOMAIN}.conf").write_text(f"[renewalparams]\nserver = {server}\n")
    pem = certificates.public(certificates.issue(certificates.authority(), name))
    (live / "fullchain.pem").write_text(pem)
    (tmp_path / "class.crt").write_text(pem)
    return live


@pytest.mark.parametrize(
    ("name", "server", "days", "why"),
    [
        (DOMAIN, "https://x/dir", 0, ""),
        ("other.example.edu", "https://x/dir", 0, "it was for another name"),
        (DOMAIN, "https://staging/dir", 0, "it was of another authority"),
        (DOMAIN, "https://x/dir", 366, "it had expired"),
    ],
)
def test_authority_is_asked_only_for_a_reason(
    state, tmp_path, monkeypatch, name, server, days, why
):
    live = obtained_before(tmp_path, name, server)
    at(days, monkeypatch)
    ret = predict(
        state,
        monkeypatch,
        lambda: state.obtained(
            DOMAIN,
            "/cli.ini",
            "https://x/dir",
            str(live),
            "/deploy",
            str(Path(tmp_path, "class.crt")),
        ),
    )
    assert ret["changes"] == ({DOMAIN: f"obtained from https://x/dir: {why}"} if why else {})
