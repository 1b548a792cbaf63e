"""Which requests of a host the class's Salt master does not do: those that speak for others."""

import pytest

from tests.support.loading import program
from tests.support.taken_over import answers_for_another


@pytest.fixture(scope="module")
def master():
    return program("salt-master")


@pytest.mark.parametrize("name", answers_for_another("20300101000000000000", "hub", "forged"))
def test_an_answer_for_another_is_refused(master, name):
    request, load = answers_for_another("20300101000000000000", "hub", "forged")[name]
    assert master.foreign(request, load | {"id": "node1"})


@pytest.mark.parametrize(
    ("request_", "load"),
    [
        ("_return", {"jid": "20300101000000000000", "fun": "test.ping", "return": True}),
        ("_register_resources", {"resources": {}}),
        ("_minion_event", {"tag": "minion_start", "data": "started", "pretag": None}),
        ("_minion_event", {"tag": "salt/minion/node1/start", "data": "started"}),
        ("_minion_event", {"events": [{"tag": "classhub/activity", "data": {}}]}),
        ("_minion_event", {"events": [{"tag": "salt/beacon/node1/load/", "data": {}}]}),
        ("_minion_event", {"events": [{"tag": "salt/engines/docker_events/start", "data": {}}]}),
        ("_pillar", {"grains": {}, "tag": "salt/job/1/ret/hub"}),
    ],
)
def test_what_a_host_says_about_itself_is_done(master, request_, load):
    assert master.foreign(request_, load | {"id": "node1"}) == ""


@pytest.mark.parametrize(
    "tag",
    [
        "salt/minion/hub/start",
        "salt/minion/node10/start",
        "salt/beacon/hub/load/",
        "salt/run/20300101000000000000/ret",
        "salt/wheel/20300101000000000000/ret",
        "salt/auth",
        "salt/key",
        ["salt/job/1/ret/hub"],
        b"salt/job/1/ret/hub",
        None,
    ],
)
def test_an_event_of_anothers_is_refused(master, tag):
    for load in ({"tag": tag, "data": {}}, {"events": [{"tag": "mine"}, {"tag": tag}]}):
        assert master.foreign("_minion_event", load | {"id": "node1"})


@pytest.mark.parametrize("events", [None, 7, "salt", [None], [["tag", "x"]], {"tag": "x"}])
def test_what_is_malformed_is_refused(master, monkeypatch, caplog, events):
    functions = master.AESFuncs.__new__(master.AESFuncs)
    monkeypatch.setattr(
        master.salt.master.AESFuncs, "run_func", lambda *_: pytest.fail("it was done")
    )
    load = {"id": "node1", "events": events}
    assert functions.run_func("_minion_event", load) == ({}, {"fun": "send"})
    assert "node1 said something malformed" in caplog.text
