"""classhub_mine state: published when value or readers change, and the value shows nowhere."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

NAME, FUNCTION = "classhub_swarm_join", "classhub_swarm.join_token"
TOKEN = "SWMTKN-1-fake-token"


class Mine:
    """A stand-in for Salt's mine: entries of the hub, each with the minions that may read it."""

    def __init__(self):
        self.value, self.entries, self.sent, self.works = {"token": TOKEN}, {}, [], True

    def function(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def send(self, name, *args, mine_function, allow_tgt, allow_tgt_type):
        assert allow_tgt_type == "list"
        self.sent.append(name)
        value = self.function() if mine_function == FUNCTION else args[0]
        if self.works:
            self.entries[name] = (value, allow_tgt.split(","))
        return self.works

    def get(self, target, name):
        return self.read(name, "hub") if target == "hub" else {}

    def read(self, name, minion):
        """What `minion` finds."""
        value, readers = self.entries.get(name, (None, []))
        return {"hub": value} if minion in readers else {}


@pytest.fixture
def mine():
    return Mine()


@pytest.fixture
def state(mine, monkeypatch):
    module = load("states", "classhub_mine")
    salt = {FUNCTION: mine.function, "mine.get": mine.get, "mine.send": mine.send}
    monkeypatch.setattr(module, "__salt__", salt, raising=False)
    monkeypatch.setattr(module, "__opts__", {"test": False, "id": "hub"}, raising=False)
    return module


def publish(state, *readers, test=False):
    state.__opts__["test"] = test
    ret = state.published(NAME, FUNCTION, list(readers))
    assert TOKEN not in str(ret)
    return ret


def test_first_run_publishes_and_the_second_changes_nothing(state, mine):
    assert publish(state, "node2", "node1") == {
        "name": NAME,
        "result": True,
        "changes": {NAME: "published to hub, node1, node2"},
        "comment": f"{NAME} was published",
    }
    assert mine.read(NAME, "node1") == {"hub": {"token": TOKEN}}
    assert mine.read(NAME, "proxy") == {}
    sent = list(mine.sent)
    again = publish(state, "node1", "node2")
    assert (again["result"], again["changes"]) == (True, {})
    assert again["comment"] == f"{NAME} is published"
    assert mine.sent == sent


def test_prediction_publishes_nothing(state, mine):
    ret = publish(state, "node1", test=True)
    assert (ret["result"], ret["changes"]) == (None, {NAME: "published to hub, node1"})
    assert ret["comment"] == f"{NAME} would be published"
    assert mine.sent == []


def test_prediction_of_what_is_published_already(state, mine):
    publish(state, "node1")
    ret = publish(state, "node1", test=True)
    assert (ret["result"], ret["changes"]) == (True, {})


def test_new_value_is_published(state, mine):
    publish(state, "node1")
    mine.value = {"token": TOKEN + "2"}
    assert publish(state, "node1")["changes"]
    assert mine.read(NAME, "node1") == {"hub": mine.value}


@pytest.mark.parametrize("test", [False, True])
def test_old_value_is_published_to_a_new_reader(state, mine, test):
    publish(state, "node1")
    ret = publish(state, "node1", "node2", test=test)
    assert ret["result"] is (None if test else True)
    assert ret["changes"] == {NAME: "published to hub, node1, node2"}
    assert bool(mine.read(NAME, "node2")) is not test
    if not test:
        assert publish(state, "node1", "node2")["changes"] == {}


def test_reader_that_left_the_class_reads_no_more(state, mine):
    publish(state, "node1", "node2")
    assert publish(state, "node1")["changes"]
    assert mine.read(NAME, "node2") == {}


@pytest.mark.parametrize(
    "error", [CommandExecutionError("not a manager"), FileNotFoundError(2, "no file")]
)
def test_value_that_cannot_be_had(state, mine, error):
    mine.value = error
    ret = publish(state, "node1")
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, str(error))
    ret = publish(state, "node1", test=True)
    assert (ret["result"], ret["changes"]) == (None, {NAME: "published"})
    assert ret["comment"] == f"{NAME} would be published"
    assert mine.sent == []


def test_mine_that_takes_nothing_is_an_error(state, mine):
    mine.works = False
    ret = publish(state, "node1")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"] == f"{NAME} could not be published; the minion's log says why"
