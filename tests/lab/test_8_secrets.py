"""Secrets of the hub put anew: who is disturbed, and who is not. Late, because everybody is signed out."""

import pytest

from tests.lab import journey
from tests.support import lab
from tests.support.client import Student

UNITS = ("jupyterhub-proxy", "jupyterhub", "classhub-formgrader", "classhub-dashboard")


def starts() -> dict[str, str]:
    """When each unit was started."""
    stamp = "--property=ActiveEnterTimestampMonotonic"
    return {unit: lab.on("hub", "systemctl", "show", unit, stamp, "--value") for unit in UNITS}


def rotate(*names: str) -> list[str]:
    """Put secrets anew and apply the hub's states; the units that restarted."""
    before, announced = starts(), set()
    for name in names:
        predicted = lab.salt("hub", "classhub_secrets.rotate", name, "test=True")["hub"]
        told = lab.salt("hub", "classhub_secrets.rotate", name)["hub"]
        assert told == predicted | {"changed": True}
        announced |= set(told["restarts"])
    assert starts() == before, "something restarted before the states were applied"
    assert not lab.lines(lab.apply("hub"), "failed")
    after = starts()
    restarted = [unit for unit in UNITS if after[unit] != before[unit]]
    assert set(restarted) == announced
    assert not lab.lines(lab.apply("hub"), "changed")
    return restarted


def test_tokens_of_services_cut_no_student(site):
    names = ("operator", "culler", "doctor", "proxy-sync", "formgrader", "dashboard")
    boss = lab.operator(site)
    assert boss.request("GET", "users").status_code == 200
    assert "jupyterhub-proxy" not in rotate(*names)
    lab.wait_for_hub(site)  # with the operator's token as it is now
    assert boss.request("GET", "users").status_code == 403, "with the one of before"
    assert lab.salt("hub", "classhub.cull", "test=True")["hub"]["summary"] is not None


def test_the_proxys_secret_keeps_kernels(quiet, student):
    ada = student("ada")
    journey.start(ada)
    kernel = ada.kernel()
    kernel.run("kept = 31")
    assert rotate("proxy") == ["jupyterhub-proxy", "jupyterhub"]
    lab.wait_for_hub(quiet)
    assert kernel.value("kept") == 31


@pytest.mark.long
def test_a_new_cookie_secret_signs_everybody_out(site):
    dan = Student("dan", site).sign_in()
    assert dan.page("/hub/home").url == dan.hub("home")
    rotate("cookie")
    lab.wait_for_hub(site)
    assert "/hub/login" in dan.page("/hub/home").url
    again = Student("dan", site).sign_in()
    assert again.page("/hub/home").url == again.hub("home")
