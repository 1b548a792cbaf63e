"""bootstrap.sh refuses what it cannot do, in one clear sentence, before it touches the machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

BOOTSTRAP = Path(__file__).resolve().parents[2] / "bootstrap.sh"


def bootstrap(*words: str) -> subprocess.CompletedProcess[str]:
    """Run bootstrap.sh with words that it must refuse."""
    return subprocess.run(
        [str(BOOTSTRAP), *words], check=False, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "say what this machine is to be: minion, master or install."),
        (["syndic"], "'syndic' is not minion, master or install."),
        (["minion"], "minion needs --master ADDR."),
        (["minion", "--master", "10.0.0.1"], "minion needs --id ID."),
        (["minion", "--master"], "--master needs a value."),
        (["install", "--id", "hub"], "'install' does not know --id."),
        (["master", "--interface", "eth0"], "'eth0' is no IP address."),
        *(
            (
                ["master", "--api", where],
                f"'{where}' is no IPv4 address with a port, such as 192.0.2.11:8443.",
            )
            for where in ("8443", "hub:8443", "192.0.2.11", "192.0.2.11:x", "192.0.2.300:8443")
        ),
        (
            ["minion", "--master", "a b", "--id", "hub"],
            "'a b' is no IPv4 address, and the nodes' firewalls need the master's.",
        ),
    ],
)
def test_wrong_arguments_are_refused(words: list[str], sentence: str) -> None:
    done = bootstrap(*words)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"bootstrap.sh: {sentence}"


@pytest.mark.parametrize("id_", ["../evil", "a: b", "-x", "hub\nmaster: evil"])
def test_an_id_that_could_break_the_configuration_is_refused(id_: str) -> None:
    done = bootstrap("minion", "--master", "10.0.0.1", "--id", id_)
    assert done.returncode == 1
    assert "is no minion id" in done.stderr
