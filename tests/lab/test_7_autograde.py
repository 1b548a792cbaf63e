"""A class graded on real nodes: the scores are those of plain nbgrader, also if a node or the hub goes away meanwhile."""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import corpus, lab, twice
from tests.support.waiting import wait_until

NOT_YET = (lab.CommandFailed, AssertionError, subprocess.TimeoutExpired)
SUBMISSIONS = 12  # of whom some run when something happens


def grading_on(host: str) -> list[str]:
    """Containers on a host that execute a submission."""
    return lab.docker(host, "ps", "--quiet", "--filter", "label=classhub.grading").split()


def nothing_left() -> bool:
    services = lab.docker("hub", "service", "ls", "--quiet", "--filter", "label=classhub.grading")
    return not services and not any(grading_on(host) for host in lab.NODES)


def compare(top: Path, names: Sequence[str], submissions: int) -> None:
    """Grade assignments by both, and compare cell by cell."""
    pairs = corpus.write_course(top, names, submissions)
    people = sorted({user for user, _ in pairs})
    differ, cells = [], 0
    with twice.on_hub(top, people):
        for assignment in names:
            report = twice.ours(assignment)
            assert report["summary"]["failed"] == 0, report
            twice.stock(assignment)
            mine, theirs = (twice.scores(side, assignment) for side in ("classhub", "nbgrader"))
            assert {row[0] for row in mine} == {user for user, name in pairs if name == assignment}
            cells += len(theirs)
            differ += [pair for pair in zip(mine, theirs, strict=True) if pair[0] != pair[1]]
    print(f"{submissions} submissions of {len(names)} assignments: {cells} cells")
    assert differ == []
    wait_until("nothing is left on the nodes", nothing_left, 60)


def test_scores_are_those_of_nbgrader(quiet, tmp_path):
    compare(tmp_path, ("ps1", "files", "tasks", "marks"), 8)


@pytest.mark.long
def test_scores_of_a_whole_term_are_those_of_nbgrader(quiet, tmp_path):
    compare(tmp_path, list(corpus.ASSIGNMENTS), 320)


# -- what happens meanwhile


@pytest.fixture(scope="module")
def known(site, tmp_path_factory) -> Iterator[list[tuple]]:
    """A course that is not graded yet, and the scores that it must have."""
    top = tmp_path_factory.mktemp("course")
    pairs = corpus.write_course(top, ["marks"], SUBMISSIONS)
    with twice.on_hub(top, [user for user, _ in pairs]):
        assert twice.ours("marks")["summary"]["done"] == SUBMISSIONS
        yield twice.scores("classhub", "marks")


class Run(threading.Thread):
    """A run of autograde, of everything, beside the test.

    Attributes:
        report: of the run; nothing if it came to no end
    """

    def __init__(self) -> None:
        super().__init__()
        self.report: dict[str, Any] = {}
        twice.refresh()
        self.start()

    def run(self) -> None:
        try:
            self.report = twice.ours("marks")
        except NOT_YET:
            self.report = {}


def test_a_node_that_dies_costs_nobody_anything(quiet, known):
    run = Run()
    victim = "node2"
    wait_until("it runs there", lambda: grading_on(victim), 60, pause=0.1)
    lab.run("docker", "kill", f"{lab.CONTAINER}{victim}")
    try:
        run.join(timeout=300)
        assert run.report["summary"]["done"] == SUBMISSIONS, run.report
        assert run.report["summary"]["notes"].keys() <= {row[0] for row in known}
        assert twice.scores("classhub", "marks") == known
    finally:
        lab.run("docker", "start", f"{lab.CONTAINER}{victim}")
        wait_until(f"{victim} is back", lambda: victim in lab.ready_nodes(), 180, ignoring=NOT_YET)
        wait_until(
            "its minion answers", lambda: lab.salt(victim, "test.ping"), 180, ignoring=NOT_YET
        )
    wait_until("nothing is left on the nodes", nothing_left, 60)


@pytest.mark.long
def test_a_hub_that_restarts_goes_on_where_it_was(quiet, known):
    run = Run()
    wait_until("some run", lambda: any(grading_on(host) for host in lab.NODES), 60, pause=0.1)
    lab.run("docker", "restart", "--time=5", f"{lab.CONTAINER}hub")
    run.join(timeout=300)
    assert run.report == {}
    wait_until("the hub is back", lambda: len(lab.ready_nodes()) == 3, 180, ignoring=NOT_YET)
    wait_until("its minion answers", lambda: lab.salt("hub", "test.ping"), 180, ignoring=NOT_YET)
    again = twice.ours("marks")
    assert again["summary"]["failed"] == 0, again
    assert twice.scores("classhub", "marks") == known
    wait_until("nothing is left on the nodes", nothing_left, 60)
    lab.wait_for_hub(quiet)
