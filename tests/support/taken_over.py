"""Root on a node, at the Salt master: the node's own key, and a client that says what it likes.

Salt's own minion would not send most of this; whoever has the key can. As a program it runs on the node itself, with Salt
alone: its argument is a list of requests in JSON, [["ask" | "shout" | "tell", arguments, named], ...], and it prints the
answers.
"""

import json
import sys

import salt.channel.client
import salt.config

NOTHING = (None, False, "", {}, [])


def refused(answer):
    """Whether an answer is none."""
    return answer in NOTHING or str(answer).startswith("refused:")


class Minion:
    """Whoever has a minion's key.

    Args:
        path: of the minion's configuration
        master: URI of the master's port for requests
    """

    def __init__(self, path, master):
        self.opts = salt.config.minion_config(path)
        self.opts["master_uri"] = master

    def ask(self, cmd, /, claimed="", version=3, key="", **load):
        """The master's answer, or what was said instead of one.

        Args:
            claimed: whose the request says it is, if not its own; the key is the minion's.
            version: of the protocol.
            key: of an answer that is encrypted once more.
        """
        claimed = claimed or self.opts["id"]
        with salt.channel.client.ReqChannel.factory(self.opts) as channel:
            package = channel.obj._package_load

            def packaged(load, nonce=None, session_crypticle=None):
                crypticle = session_crypticle or channel.obj.auth.session_crypticle

                class Claiming:
                    def dumps(self, load):
                        return crypticle.dumps(load | {"id": claimed})

                return package(load, nonce, Claiming()) | {"version": version}

            channel.obj._package_load = packaged
            try:
                if key:
                    return channel.crypted_transfer_decode_dictentry(
                        load | {"cmd": cmd}, dictkey=key, timeout=15
                    )
                return channel.send(load | {"cmd": cmd}, tries=1, timeout=15)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
                return f"refused: {type(error).__name__}: {error}"

    def shout(self, **load):
        """The master's answer to a request without a key."""
        with salt.channel.client.ReqChannel.factory(self.opts, crypt="clear") as channel:
            try:
                return channel.send(load, tries=1, timeout=15)
            except Exception as error:  # noqa: BLE001
                return f"refused: {type(error).__name__}: {error}"

    def tell(self, tag, data, **more):
        """An event, as `event.send` would send it."""
        return self.ask("_minion_event", events=[{"tag": tag, "data": data}], **more)


# -- requests that the master must refuse

REQUESTS = {
    "_pillar": {"grains": {"id": "hub"}, "saltenv": "base"},
    "_mine_get": {"tgt": "*", "fun": "classhub_test_value"},
    "_mine": {"data": {"forged": 1}},
    "_mine_flush": {},
    "_return": {"jid": "20260101000000000000", "fun": "test.ping", "return": "forged"},
    "_minion_event": {"tag": "forged", "data": {}},
    "_register_resources": {"resources": {}},
    "_serve_file": {"path": "top.sls", "saltenv": "base", "loc": 0},
    "minion_runner": {"fun": "classhub.hosts", "arg": []},
    "pub_ret": {"jid": "20260101000000000000"},
    "revoke_auth": {},
}

PATHS = [
    ("../pillar/class.sls", "base"),
    ("pillar/class.sls", "base"),
    ("pillar/class.sls", ".."),
    ("class.sls", "../pillar"),
    ("secrets/hub.sls", "base"),
    ("hub/../../pillar/example/lab/class.sls", "base"),
    ("/etc/passwd", "base"),
    ("//etc/passwd", "base"),
    ("|/etc/passwd", "base"),
    ("etc/passwd", "/"),
    ("../../../../../../../../etc/passwd", "base"),
    ("../reactor/minion_start.sls", "base"),
    ("../_runners/classhub.py", "base"),
    ("../config/master.d/classhub.conf", "base"),
    ("class.sls", "__env__"),
]

PUBLISH = {"fun": "cmd.run", "arg": ["true"], "tgt": "*", "tgt_type": "glob", "ret": "", "tmo": 5}

COMMANDS = [
    ("minion_pub", PUBLISH),
    ("minion_publish", PUBLISH | {"form": "full"}),
    ("minion_pub", PUBLISH | {"fun": "cmd.run,state.apply", "arg": ["true", ""]}),
    ("minion_runner", {"fun": "classhub.activity", "arg": []}),
    ("minion_runner", {"fun": "salt.cmd", "arg": ["cmd.run", "id"]}),
    ("runner", {"fun": "test.arg"}),
    ("wheel", {"fun": "key.list_all"}),
    ("_prep_auth_info", {}),
]

WITHOUT_A_KEY = [
    {"cmd": "wheel", "fun": "key.list_all"},
    {"cmd": "wheel", "fun": "key.list_all", "key": "", "user": "root"},
    {"cmd": "runner", "fun": "test.arg", "key": None, "user": "root"},
    {"cmd": "publish", **PUBLISH, "user": "root", "key": ""},
    {"cmd": "publish", **PUBLISH, "user": "sudo_root", "token": "0" * 64},
    {"cmd": "mk_token", "eauth": "auto", "username": "root", "password": ""},
    {"cmd": "get_token", "token": "../../../../etc/passwd"},
    {"cmd": "_prep_auth_info"},
    {"cmd": "_send_pub"},
    {"cmd": "_pillar", "id": "hub", "grains": {}},
]

CLAIMS = {  # about itself, of a minion that asks for its pillar
    "grains": {"grains": {"id": "hub", "nodename": "hub", "roles": ["hub"], "fqdn": "hub"}},
    "roles": {"pillar_override": {"classhub": {"hosts": {"node1": {"roles": ["hub"]}}}}},
    "roster": {"pillar_override": {"classhub": {"roster": {"file": "secrets/hub.sls"}}}},
    "environment": {"pillarenv": "secrets"},
    "path": {"pillarenv": "../../secrets", "saltenv": "secrets"},
    "pillars of its own": {"ext": {"classhub": {}, "file_tree": {"root_dir": "/etc"}}},
    "extra data": {"extra_minion_data": {"id": "hub", "minion_id": "hub"}},
}


def answers_for_another(jid, host, said):
    """Ways to answer a job in the name of another host: {name: (what is asked of the master, what goes with it)}."""
    whole = {"id": host, "jid": jid, "fun": "test.sleep", "return": said, "retcode": 0}
    returned = {"jid": jid, "fun": "test.sleep", "return": said}
    tag = f"salt/job/{jid}/ret/{host}"
    return {
        "resource": ("_return", returned | {"resource_id": host}),
        "resource of the same name": ("_return", returned | {"resource_id": host, "id": host}),
        "syndic": ("_syndic_return", {"jid": jid, "return": {host: {"return": said}}}),
        "syndic of many": (
            "_syndic_return",
            {"load": [{"jid": jid, "id": "node1", "return": {host: {"return": said}}}]},
        ),
        "event": ("_minion_event", {"events": [{"tag": tag, "data": whole}]}),
        "event by the job's id": ("_minion_event", {"events": [{"tag": jid, "data": whole}]}),
        "event by another start": (
            "_minion_event",
            {"events": [{"tag": f"salt/job/{jid}/start/{host}", "data": whole}]},
        ),
        "event alone": ("_minion_event", {"tag": tag, "data": whole, **whole}),
        "event of a syndic": (
            "_minion_event",
            {"pretag": "salt/job", "events": [{"tag": f"{jid}/ret/{host}", "data": whole}]},
        ),
    }


IDS = [  # of whom an event says that it has started
    "hub",
    "*",
    'x", "*',
    "x\n    - tgt: '*'",
    "{{ salt['cmd.run']('id') }}",
    "{% set x = salt['cmd.run']('id') %}",
    ["hub", "proxy"],
    {"hub": "proxy"},
]


def main():
    client = Minion("/etc/salt/minion", sys.argv[1])
    answers = [
        getattr(client, way)(*given, **named) for way, given, named in json.loads(sys.argv[2])
    ]
    json.dump(answers, sys.stdout, default=str)


if __name__ == "__main__":
    main()
