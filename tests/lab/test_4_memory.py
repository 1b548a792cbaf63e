"""A cell that takes more memory than its server has hurts nobody else."""

import pytest

from tests.lab import journey
from tests.support import lab
from tests.support.client import KernelDied
from tests.support.waiting import wait_until


def test_a_greedy_cell_kills_only_its_own_kernel(quiet, student):
    greedy, other, node = _two_on_one_node([student(name) for name in ("ada", "bob", "cleo")])
    kernel = other.kernel()
    assert not kernel.run("kept = 41").error
    container = lab.containers_of(other.name, node)

    with pytest.raises(KernelDied):
        greedy.kernel().run("data = b'x' * (1500 << 20)", timeout=60)

    assert kernel.value("kept + 1") == 42
    assert lab.containers_of(other.name, node) == container
    _works_again(greedy)


def _two_on_one_node(students):
    """Three servers on two nodes: two of them are neighbours."""
    where = {}
    for student in students:
        node = journey.start(student)
        if node in where:
            return where[node], student, node
        where[node] = student
    raise AssertionError(f"three servers on {sorted(where)}: no two share a node")


def _works_again(student):
    """After the blow: the same server with a new kernel, or a new server after pressing start."""

    def works() -> bool:
        if not student.answers():
            student.start()
        return student.kernel().value("6 * 7") == 42

    wait_until(
        f"{student.name} works again", works, 60, ignoring=(KernelDied, TimeoutError, OSError)
    )
