"""What goes between a node and the hub: rows of the node's memory, and the hub's word that it has them."""

import json

import pytest

from tests.support.loading import load


@pytest.fixture
def asked():
    return []


@pytest.fixture
def module(asked, monkeypatch):
    module = load("modules", "classhub_activity")

    def noted(name, answer):
        return lambda *words, **more: asked.append((name, words, more)) or answer

    utils = {
        "classhub_spool.waiting": noted("waiting", {"spool": "s", "rows": []}),
        "classhub_spool.forget": noted("forget", 3),
    }
    monkeypatch.setattr(module, "__utils__", utils, raising=False)
    salt = {"classhub_course.call": noted("call", {"table": {}, "summary": {}})}
    monkeypatch.setattr(module, "__salt__", salt, raising=False)
    return module


def test_what_waits_and_what_the_hub_has(module, asked):
    assert module.waiting(limit=5) == {"spool": "s", "rows": []}
    assert module.forget("s", 7) == 3
    assert asked == [("waiting", (5,), {}), ("forget", ("s", 7), {})]


def test_what_nodes_told_is_data_and_not_words(module, asked):
    told = {"node1": [[1, "c", "start; reboot", 5, "--evil", None, 0]]}
    module.record(told)
    ((_, words, more),) = asked
    assert words == ("record-activity",)
    assert json.loads(more["data"]) == told


def test_sample(module, asked):
    module.sample()
    assert asked == [("call", ("sample-activity",), {})]
