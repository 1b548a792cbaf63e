"""The operator's runner and the mine between real minions."""

import pytest

pytestmark = pytest.mark.slow

VALUE = "classhub_test_value"


def publish(class_, *readers, **kwargs):
    return class_.single(
        "hub",
        "classhub_mine.published",
        name=VALUE,
        function="classhub.hosts",
        readers=list(readers),
        **kwargs,
    )


def seen(class_, minion):
    """What `minion` finds in the hub's mine."""
    return class_.ask(minion, "mine.get", "hub", VALUE).get("hub")


def test_value_in_the_mine_is_for_its_readers_alone(with_modules):
    predicted = publish(with_modules, "node1", test=True)
    assert (predicted["result"], list(predicted["changes"])) == (None, [VALUE])
    assert not seen(with_modules, "node1")

    assert publish(with_modules, "node1")["result"] is True
    assert seen(with_modules, "node1")["hub"]["address"] == "10.77.0.11"
    assert not seen(with_modules, "proxy")
    assert publish(with_modules, "node1")["changes"] == {}


def test_value_is_published_again_when_its_readers_change(with_modules):
    """A node that is added later has to find the token, though the token is the old one."""
    publish(with_modules, "node1")
    assert not seen(with_modules, "proxy")
    assert publish(with_modules, "node1", "proxy")["changes"]
    assert seen(with_modules, "proxy")
    assert publish(with_modules, "node1", "proxy")["changes"] == {}
    assert publish(with_modules, "node1")["changes"]
    assert not seen(with_modules, "proxy")
    assert seen(with_modules, "node1")


@pytest.mark.parametrize("function", ["classhub.drain", "classhub.resume"])
def test_hub_without_docker_gives_one_clear_error(with_modules, function):
    ret = with_modules.master.salt_run_cli(timeout=60).run(function, "node1")
    assert ret.returncode != 0
    # Salt puts a traceback before every error of a runner; what it ends with is for the operator
    told = (ret.stdout + ret.stderr).replace("\\n", "\n").strip().strip('"').rstrip()
    sentence = "hub: docker is not installed on this host; apply the state `engine`"
    assert told.endswith(sentence), told
    assert told.count("docker is not installed") == 1, told
