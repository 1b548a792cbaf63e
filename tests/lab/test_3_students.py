"""Two students of a full class, from the sign-in page to a notebook on a node."""

import pytest

from tests.lab import journey
from tests.support import lab
from tests.support.client import Student


def test_two_students_work_on_two_nodes(quiet):
    assert sorted(journey.whole(quiet)) == lab.NODES


def test_a_wrong_password_is_refused(site):
    answer = Student("ada", site, password="guess").send_sign_in_form()
    assert answer.status_code == 403
    assert "/hub/home" not in answer.url


@pytest.mark.parametrize("name", ["mallory", "root"])
def test_who_is_not_on_the_roster_gets_no_server(site, name):
    """Refused at sign-in, or at the latest when asking for a server."""
    stranger = Student(name, site)
    answer = stranger.send_sign_in_form()
    if "/hub/home" in answer.url:
        begun = stranger.sign_in().start()
        assert not begun.ready
    assert name not in lab.servers()


def test_a_students_key_opens_no_shell_on_the_hub(site):
    """A notebook can write ~/.ssh/authorized_keys, and the home is the hub's."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKeyOfNobodyAtAllForATestOfTheLabOnly ada"
    ssh = "/home/ada/.ssh"
    lab.on("hub", "install", "-d", "-o", "ada", "-g", "ada", "-m", "0700", ssh)
    try:
        lab.shell("hub", f"echo '{key}' >{ssh}/authorized_keys && chown ada: {ssh}/authorized_keys")
        assert lab.on("hub", "getent", "passwd", "ada").endswith(":/usr/sbin/nologin")
        with pytest.raises(lab.CommandFailed, match="not available"):
            lab.on("hub", "su", "--login", "ada", "--command", "id")
        refused = lab.on("hub", "cat", "/etc/ssh/sshd_config.d/classhub.conf").splitlines()
        assert "DenyGroups graders instructors students classhub-left" in refused
    finally:
        lab.on("hub", "rm", "-r", ssh)


def test_a_stopped_server_leaves_nothing(quiet, student):
    ada = student("ada")
    node = journey.start(ada)
    ada.stop()
    assert lab.servers() == []
    assert lab.containers_of("ada", node) == []
