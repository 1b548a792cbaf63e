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


def test_a_stopped_server_leaves_nothing(quiet, student):
    ada = student("ada")
    node = journey.start(ada)
    ada.stop()
    assert lab.servers() == []
    assert lab.containers_of("ada", node) == []
