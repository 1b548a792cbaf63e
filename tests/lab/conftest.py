"""The lab for the tests in this folder.

With CLASSHUB_LAB_FRESH=1 (as `make test` sets it) the lab is made anew, and the tests that need a
fresh or a small class run too. Without it the tests use the lab that runs, and those others are
skipped with a reason. The files run in the order of their numbers: each leaves a working class.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.support import browser, lab
from tests.support.client import Site, Student

FRESH = os.environ.get("CLASSHUB_LAB_FRESH") == "1"
HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lab: needs the lab (a real class on this machine)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def hosts() -> list[str]:
    """Running hosts whose minions answer; made from nothing where the tests may do that."""
    if FRESH:
        try:
            lab.lab("down")
            lab.lab("hosts")
        except lab.CommandFailed as failure:  # once, and not for each of the tests
            pytest.exit(f"the lab's hosts did not come up\n{failure}", returncode=1)
    assert lab.hosts(), "no lab runs: `make up`, or set CLASSHUB_LAB_FRESH=1"
    lab.wait_for_minions()
    return lab.hosts()


@pytest.fixture(scope="session")
def fresh_hosts(hosts: list[str]) -> list[str]:
    if not FRESH:
        pytest.skip("remakes the lab: set CLASSHUB_LAB_FRESH=1")
    return hosts


@pytest.fixture(scope="session")
def site(hosts: list[str]) -> Site:
    """The deployed full class; deploys it where test_1 did not just do so."""
    assert hosts == sorted(lab.ADDRESSES), f"the full class is wanted, these hosts run: {hosts}"
    token = lab.on("hub", "cat", "/etc/jupyterhub/operator.token", check=False)
    if not token:
        failed = lab.lines(lab.apply(), "failed")
        assert not failed, "\n".join(failed)
    where = lab.site()
    lab.wait_for_hub(where)
    return where


@pytest.fixture
def quiet(site: Site) -> Iterator[Site]:
    """The class with no server running, before the test and after it."""
    lab.stop_everyone(site)
    yield site
    lab.wait_for_hub(site)
    lab.stop_everyone(site)


@pytest.fixture(scope="session")
def student(site: Site) -> Callable[[str], Student]:
    """student(name): that student, signed in once for all tests."""
    known: dict[str, Student] = {}

    def signed_in(name: str) -> Student:
        if name not in known:
            known[name] = Student(name, site).sign_in()
        return known[name]

    return signed_in


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    if os.environ.get("CLASSHUB_PICTURES") == "1":
        folder = lab.ROOT / "docs" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture
def page(quiet: Site) -> Iterator[Page]:
    with browser.opened(quiet) as page:
        yield page
