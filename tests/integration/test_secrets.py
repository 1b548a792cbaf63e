"""Secrets in pillar that are encrypted where they lie: the master decrypts them, for the minion alone that they are for.

The commands are those of docs/howto/secrets.md.
"""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.loading import ROOT

pytestmark = pytest.mark.slow
VALUE = "a-password-from-a-keyring"
FILE = """#!yaml|gpg
classhub:
  hub:
    lab_password: |
{message}
"""


def documented(start: str, **places: str) -> list[str]:
    """A command of the guide, by its first words, with other places."""
    text = (ROOT / "docs/howto/secrets.md").read_text(encoding="utf-8")
    joined = text.replace("\\\n", " ")
    (command,) = [line.strip() for line in joined.splitlines() if line.strip().startswith(start)]
    for place, here in places.items():
        assert place in command
        command = command.replace(place, here)
    return command


def shell(command: str, **kwargs) -> str:
    return subprocess.run(
        ["sh", "-c", command], check=True, capture_output=True, text=True, timeout=60, **kwargs
    ).stdout


@pytest.fixture(scope="module")
def keys(scratch):
    """The master's keyring, made as the guide says."""
    folder = scratch / "gpgkeys"
    there = {"/etc/salt/gpgkeys": str(folder)}
    shell(documented("install -d", **there))
    shell(documented("gpg --homedir /etc/salt/gpgkeys --batch --passphrase", **there))
    yield folder
    shell(f"gpgconf --homedir {folder} --kill all")


def encrypted(keys: Path, value: str) -> str:
    command = documented(
        "gpg --homedir /etc/salt/gpgkeys --armor --trust-model", **{"/etc/salt/gpgkeys": str(keys)}
    )
    return shell(command, input=value)


@pytest.fixture
def secret(running, keys):
    """``secret(message)`` -> the hub's own pillar has this message."""
    path = running.pillar / "secrets/hub.sls"

    def put(message: str) -> str:
        path.parent.mkdir(exist_ok=True)
        indented = re.sub("(?m)^", "      ", message.rstrip())
        path.write_text(FILE.format(message=indented), encoding="utf-8")
        running.ask_all("saltutil.refresh_pillar", wait=True)
        return path.read_text(encoding="utf-8")

    yield put
    path.unlink(missing_ok=True)
    running.ask_all("saltutil.refresh_pillar", wait=True)


def password(running, minion: str) -> str:
    return running.ask(minion, "pillar.items", unmask=True)["classhub"]["hub"]["lab_password"]


def test_encrypted_secret_reaches_its_minion_alone(running, keys, secret):
    text = secret(encrypted(keys, VALUE))
    assert "BEGIN PGP MESSAGE" in text
    assert VALUE not in text
    assert password(running, "hub") == VALUE
    for minion in ("node1", "proxy"):
        told = str(running.ask(minion, "pillar.items", unmask=True))
        assert VALUE not in told
        assert "PGP" not in told


def test_keyring_is_the_masters_alone(keys):
    assert keys.stat().st_mode & 0o777 == 0o700


def test_secret_that_the_master_cannot_decrypt_stops_the_hub_and_no_other(running, keys, secret):
    message = encrypted(keys, VALUE).splitlines()
    message[5] = message[5][::-1]
    secret("\n".join(message))
    answer = running.ask("hub", "state.apply", "check")
    assert isinstance(answer, list), answer
    assert "secrets.hub" in " ".join(answer)
    assert VALUE not in " ".join(answer)
    (state,) = running.ask("node1", "state.apply", "check").values()
    assert state["result"] is True
