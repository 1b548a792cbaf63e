"""`salt-run classhub.deploy`: the ordered way to the same class, while students work."""

import pytest

from tests.lab import journey
from tests.support import lab
from tests.support.client import Site, Student

KINDS = ("hub", "hub killed", "proxy", "front", "minion", "server")


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
