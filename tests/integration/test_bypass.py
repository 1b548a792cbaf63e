"""Why staff get no rights of Salt's own: in Salt 3008.3 all of them lead to root on every minion.

When a test here fails, Salt has mended it. Then `_BYPASSABLE` in `_utils/classhub_staff.py` and the way in for staff
(`_netapi/classhub_api.py`) can be thought over.
"""

from pathlib import Path

import pytest
from salt.client import get_local_client

from tests.support.loading import ROOT, load

pytestmark = pytest.mark.slow

RULES = {
    # who is allowed a harmless function on one minion, and who none at all: a runner alone
    "carol": [{"bypassed": ["test.ping$"]}],
    "runs": [{"@runner": ["classhub\\.status$"]}],
    "nobody": [],
}


@pytest.fixture(scope="module")
def client(salt_factories):
    """A client of a master with rights of Salt's own; `auto` believes any password."""
    overrides = {"external_auth": {"auto": RULES}, "publisher_acl": {"nobody": ["test.ping$"]}}
    overrides |= {"auto_accept": True, "worker_threads": 3}
    master = salt_factories.salt_master_daemon("bypassable", overrides=overrides)
    with master.started():
        minion = master.salt_minion_daemon("bypassed", overrides={"enable_gpu_grains": False})
        with minion.started(), get_local_client(master.config_file) as found:
            yield found


def said(client, user, functions, arguments):
    return client.cmd(
        "bypassed", functions, arguments, timeout=30, eauth="auto", username=user, password="any"
    )


def test_one_function_at_a_time_is_refused(client):
    with pytest.raises(Exception, match="Authorization error occurred"):
        said(client, "carol", "cmd.run", ["id -u"])
    with pytest.raises(Exception, match="Authorization error occurred"):
        said(client, "runs", "cmd.run", ["id -u"])


@pytest.mark.parametrize(
    ("user", "first"),
    [("carol", "test.ping"), ("runs", "saltutil.find_job"), ("nobody", "saltutil.find_job")],
)
def test_a_compound_command_is_root(client, user, first):
    arguments = [["1"] if first == "saltutil.find_job" else [], ["id -u"]]
    answer = said(client, user, [first, "cmd.run"], arguments)
    assert answer["bypassed"]["cmd.run"] == "0"


def test_a_compound_command_by_publisher_acl_is_root_too(client, monkeypatch):
    """As the account `nobody` says it, by the key that the master has made for it."""
    key = Path(client.opts["cachedir"]) / ".nobody_key"
    monkeypatch.setattr(client, "salt_user", "nobody")
    monkeypatch.setattr(client, "key", key.read_text())
    with pytest.raises(Exception, match="Authorization error occurred"):
        client.cmd("bypassed", "cmd.run", ["id -u"], timeout=30)
    answer = client.cmd("bypassed", ["test.ping", "cmd.run"], [[], ["id -u"]], timeout=30)
    assert answer["bypassed"]["cmd.run"] == "0"


def test_a_class_with_such_rights_is_not_deployed():
    bypasses = load("utils", "classhub_staff").bypasses
    opened = {
        "external_auth": {"pam": {"carol": ["test.ping"]}},
        "publisher_acl": {"carol": ["test.ping"]},
        "netapi_enable_clients": ["local"],
    }
    assert [found.partition(":")[0] for found in bypasses(opened)] == [
        "publisher_acl",
        "external_auth",
        "netapi_enable_clients",
    ]
    assert bypasses(dict.fromkeys(opened, {})) == []


def test_the_production_configuration_has_none():
    text = (ROOT / "config/master.d/classhub.conf").read_text(encoding="utf-8")
    assert not any(option in text for option in ("external_auth", "publisher_acl", "netapi"))
