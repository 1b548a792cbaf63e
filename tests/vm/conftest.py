"""The class on virtual machines for the tests in this folder: made once, with the class's states applied by real Salt.

The tests run in any order; each leaves the class as it found it: hub and nodes run, and /home is mounted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.common import LabError
from tests.support import vm_class, vm_image
from tests.support.nfs import Homes

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.vm)


@dataclass
class Applied:
    """What the states said: each {minion id: {state's name: its result}}."""

    predicted: dict[str, dict[str, Any]]
    first: dict[str, dict[str, Any]]
    second: dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def bare() -> Iterator[vm_class.Class]:
    """Machines with connected minions, on which nothing was applied."""
    try:
        vm_image.image()
    except (vm_image.NoMachine, LabError) as error:
        pytest.fail(str(error), pytrace=False)
    with vm_class.running() as class_:
        yield class_


@pytest.fixture(scope="session")
def applied(bare: vm_class.Class) -> Applied:
    """The class's states on it: predicted, applied to the hub and then to the nodes, and applied once more."""
    everybody = list(bare.machines)
    predicted = bare.apply(everybody, test=True)
    first = bare.apply(["hub"]) | bare.apply(vm_class.NODES)
    return Applied(predicted, first, bare.apply(everybody))


@pytest.fixture(scope="session")
def class_(bare: vm_class.Class, applied: Applied) -> vm_class.Class:
    """The class with its states applied."""
    failed = {name: vm_class.failures(said) for name, said in applied.first.items()}
    assert not any(failed.values()), failed
    return bare


@pytest.fixture
def homes(class_: vm_class.Class) -> Iterator[Homes]:
    """Homes of two students, new for each test."""
    homes = Homes(class_)
    homes.make()
    yield homes
    homes.remove()
