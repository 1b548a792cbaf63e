"""`salt-run classhub.deploy`: the ordered way to the same class, while students work."""

import pytest

from tests.lab import journey
from tests.support import lab
from tests.support.client import Site, Student

KINDS = ("hub", "hub killed", "proxy", "front", "minion", "server")


@pytest.mark.long
def test_a_deploy_of_a_deployed_class_changes_nothing_and_stops_nobody(quiet, student):
    ada = student("ada")
    journey.start(ada)
    kernel = ada.kernel()
    kernel.run("kept = 17")
    for arguments in (("test=True",), ()):
        answer = lab.salt_run("classhub.deploy", *arguments)
        assert set(answer["hosts"]) == set(lab.ADDRESSES)
        assert set(answer["hosts"].values()) == {0}, answer
    assert kernel.value("kept") == 17


def test_a_deploy_with_a_silent_host_changes_nothing(site):
    lab.on("node2", "systemctl", "stop", "salt-minion")
    try:
        with pytest.raises(lab.CommandFailed, match="node2 does not answer"):
            lab.salt_run("classhub.deploy")
    finally:
        lab.on("node2", "systemctl", "start", "salt-minion")
        lab.wait_for_minions()


def _as_after_a_killed_run() -> None:
    """The hub's settings are written and the hub is not restarted; the next run makes up for it, once."""
    halfway = lab.apply("hub", "hub.config")
    assert not lab.lines(halfway, "failed")
    written = lab.lines(halfway, "changed")
    assert len(written) == 1, written
    assert "Hub settings are written" in written[0]
    whole = lab.apply("hub")
    assert not lab.lines(whole, "failed")
    made_up = lab.lines(whole, "changed")
    assert len(made_up) == 1, made_up
    assert "Hub service is running" in made_up[0]
    assert "jupyterhub was restarted" in made_up[0]
    again = lab.apply("hub")
    assert not lab.lines(again, "failed")
    assert not lab.lines(again, "changed")


@pytest.mark.long
def test_settings_of_a_run_that_was_killed_reach_the_hub(quiet):
    try:
        with lab.settings({"server": {"pids": 511}}):
            _as_after_a_killed_run()
    finally:
        _as_after_a_killed_run()


def _fault(kind: str, site: Site, victim: Student) -> None:
    """Do one fault, and wait until the class is itself again."""
    if kind == "hub":
        lab.on("hub", "systemctl", "restart", "jupyterhub")
    elif kind == "hub killed":
        lab.on("hub", "systemctl", "kill", "--signal=KILL", "jupyterhub")
    elif kind == "proxy":
        lab.on("hub", "systemctl", "restart", "jupyterhub-proxy")
    elif kind == "front":
        lab.on("proxy", "systemctl", "restart", "nginx-container")
    elif kind == "minion":
        lab.on("hub", "systemctl", "kill", "--signal=KILL", "salt-minion")
    else:
        node = lab.node_of(victim.name)
        (container,) = lab.containers_of(victim.name, node)
        lab.docker(node, "kill", container)
        lab.wait_until("the hub notices", lambda: not lab.operator(site).server(victim.name), 60)
    lab.wait_for_hub(site)


def _campaign(site: Site, people: list[Student], rounds: int) -> None:
    """Fault after fault; each time everybody appends a line to a file, and no line is ever missing."""
    for number in range(rounds):
        kind, victim = KINDS[number % len(KINDS)], people[number % len(people)]
        for person in people:
            if not lab.operator(site).server(person.name).get("ready"):
                journey.start(person)
            line = f"open('lines.txt', 'a').write('{number}\\n')"
            assert not person.kernel().run(line).error
        _fault(kind, site, victim)
    for person in people:
        kept = lab.on("hub", "cat", f"/home/{person.name}/lines.txt").split()
        assert kept == [str(number) for number in range(rounds)], person.name


def _fresh_lines(people: list[Student]) -> None:
    for person in people:
        lab.on("hub", "rm", "-f", f"/home/{person.name}/lines.txt")


def test_faults_one_after_the_other(quiet, student):
    people = [student(name) for name in ("ada", "bob")]
    _fresh_lines(people)
    _campaign(quiet, people, len(KINDS))


@pytest.mark.long
def test_faults_for_an_hour(quiet, student):
    people = [student(name) for name in ("ada", "bob", "cleo", "dan", "eve")]
    _fresh_lines(people)
    _campaign(quiet, people, 30 * len(KINDS))
