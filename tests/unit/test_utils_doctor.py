"""What hosts say of themselves, beside each other."""

import pytest

from tests.support.loading import load

IMAGE, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.fixture(scope="module")
def doctor():
    return load("utils", "classhub_doctor")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (101, "ok: it is that of the master"),
        (98.5, "ok: it is that of the master"),  # the question took from 100 to 103
        (104.9, "ok: it is that of the master"),
        (107, "failed: it is 4 s ahead of the master's. To do: timedatectl"),
        (10, "failed: it is 90 s behind the master's. To do: timedatectl"),
    ],
)
def test_clock(doctor, told, words):
    assert doctor.sentence(doctor.clock(told, 100, 103)).startswith(words)


def facts(**node):
    return {
        "hub": {"salt": "3008.3", "image": IMAGE, "filesystem": "one"},
        "node1": {"salt": "3008.3", "images": [IMAGE], "filesystem": "one"} | node,
        "proxy": {"salt": "3008.3"},
    }


def found(doctor, hub="hub", **node):
    told = doctor.compared(facts(**node), hub, "3008.3")
    return {f"{host}: {check['check']}": check["result"] for host in told for check in told[host]}


def test_a_class_of_one_mind(doctor):
    assert found(doctor) == {"node1: image": "ok", "node1: homes": "ok"}


@pytest.mark.parametrize(
    ("node", "failed"),
    [
        ({"images": [OTHER]}, {"node1: image": "failed", "node1: homes": "ok"}),
        ({"images": []}, {"node1: image": "failed", "node1: homes": "ok"}),
        ({"filesystem": "two"}, {"node1: image": "ok", "node1: homes": "failed"}),
        # a check of the node's own tells why
        ({"images": None}, {"node1: homes": "ok"}),
        ({"filesystem": None}, {"node1: image": "ok"}),
        (
            {"salt": "3007.1"},
            {"node1: salt version": "warning", "node1: image": "ok", "node1: homes": "ok"},
        ),
    ],
)
def test_a_node_that_differs(doctor, node, failed):
    assert found(doctor, **node) == failed


def test_without_the_hub_nothing_is_compared_with_it(doctor):
    known = facts()
    del known["hub"]
    assert doctor.compared(known, "", "3008.3") == {"node1": [], "proxy": []}


def test_a_sentence_says_what_to_do(doctor):
    assert doctor.sentence(doctor.finding("disk", "ok", "half is left")) == "ok: half is left"
    failed = doctor.finding("disk", "failed", "1% left on /.\n", "make room on hub")
    assert doctor.sentence(failed) == "failed: 1% left on /. To do: make room on hub"
