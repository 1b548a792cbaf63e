"""Staff say verbs as themselves: a real master, salt-api and hub, with the command `classhub` over TLS between them.

The course on the hub is a stand-in that tells what it was asked.
"""

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from salt.config import master_config
from salt.runner import RunnerClient

from tests.integration.conftest import production
from tests.support.loading import ROOT
from tests.support.service_hub import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

COMMAND = ROOT / "bin/classhub"
ROSTER = "username,role\ngina,grader\nprof,instructor\nada,student\nlate,grader\n"
COURSE = '''
"""A stand-in: it tells what it was asked."""

from salt.exceptions import CommandExecutionError


def call(verb, arguments=(), options=(), follow=False, data=""):
    if "none" in arguments:
        raise CommandExecutionError("there is no assignment 'none'")
    failed = "half" in arguments
    table = {"ada": "done: is well", "bob": "failed: has no home" if failed else "skipped: has it"}
    asked = {"verb": verb, "arguments": list(arguments), "options": list(options)}
    return {"table": table, "summary": {"failed": int(failed), "asked": asked}}
'''


@pytest.fixture(scope="module")
def top(scratch):
    """Where this class has its files; their paths are short."""
    path = scratch / "staff"
    (path / "pillar").mkdir(parents=True)
    (path / "pillar/roster.csv").write_text(ROSTER)
    (path / "stub/_modules").mkdir(parents=True)
    (path / "stub/_modules/classhub_course.py").write_text(COURSE)
    return path


@pytest.fixture(scope="module")
def api(top):
    """What bootstrap.sh writes for the master."""
    key, certificate = top / "api.key", top / "api.crt"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    made += ["-noenc", "-subj", "/CN=classhub", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    paths = {"certificate": str(certificate), "key": str(key)}
    return {"address": "127.0.0.1", "port": free_port(), **paths}


@pytest.fixture(scope="module")
def master(salt_factories, top, api):
    overrides = production(top) | {"auto_accept": True, "worker_threads": 3, "classhub_api": api}
    found = salt_factories.salt_master_daemon("staffed", overrides=overrides)
    with found.started():
        mine = {"enable_gpu_grains": False, "enable_fqdns_grains": False}
        mine |= {"module_dirs": [str(ROOT), str(top / "stub")]}
        hub = found.salt_minion_daemon("hub", overrides=mine)
        with hub.started():
            yield found


@pytest.fixture(scope="module")
def service(master, api, top):
    """salt-api as its unit runs it."""
    command = [Path(sys.executable).with_name("salt-api"), "-c", Path(master.config_file).parent]
    command += ["--log-file=/dev/null"]
    with (top / "api.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def answers():
        with socket.create_connection(("127.0.0.1", api["port"]), timeout=5):
            return True

    try:
        wait_until("salt-api answers", answers, 60, ignoring=(OSError,))
        yield process
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def staff(master, service, top):
    """The class, and what people say to it."""
    root = Path(master.config["root_dir"])

    def run(function, *words, **options):
        """The operator's runner, here and not by salt-run, which takes seconds to start."""
        with RunnerClient(master_config(master.config_file)) as client:
            arguments = {"arg": words, "kwarg": options, "pub_data": {"user": "root"}}
            said = client.cmd(
                f"classhub.{function}", **arguments, print_event=False, full_return=True
            )
        return SimpleNamespace(well=said["success"], told=said["return"])

    def token(user):
        """The file that the operator hands to a person."""
        assert run("staff_token", user).well
        return root / f"etc/salt/pki/api/{user}.json"

    found = SimpleNamespace(run=run, root=root, top=top, log=root / "var/log/classhub/audit.jsonl")
    found.files = {user: token(user) for user in ("gina", "prof", "late")}
    found.known = {user: json.loads(file.read_text()) for user, file in found.files.items()}

    def say(user, *words, **environment):
        environment = os.environ | {"CLASSHUB_CONFIG": str(found.files[user])} | environment
        return subprocess.run(
            [COMMAND, *words],
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def entries(**wanted):
        lines = [json.loads(line) for line in found.log.read_text().splitlines()]
        return [line for line in lines if wanted.items() <= line.items()]

    found.say, found.entries = say, entries
    return found


def request(staff, body=b"", method="POST", path="/", source="127.0.0.1", **headers):
    """What the master answers to a request of any kind: status and body."""
    port = int(staff.known["gina"]["url"].split(":")[2].strip("/"))
    options = {"context": ssl._create_unverified_context(), "source_address": (source, 0)}
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, **options)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def asked(staff, who="gina", source="127.0.0.1", **changes):
    """A request as the command sends it, changed."""
    body = {key: staff.known[who][key] for key in ("user", "token")}
    body |= {"verb": "status", "words": ["ps1"], "options": {}} | changes
    return request(staff, json.dumps(body).encode(), source=source)


# -- what is allowed --------------------------------------------------------------------------------------------------


def test_a_grader_collects(staff):
    said = staff.say("gina", "collect", "ps1", "--due=2030-01-31T23:59", "--test")
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert lines[:3] == ["ada  done: is well", "bob  skipped: has it", "1 done, 1 skipped"]
    what = json.loads("\n".join(lines[3:]))["asked"]
    assert (what["verb"], what["arguments"]) == ("collect", ["ps1"])
    assert {"--due=2030-01-31T23:59", "--test"} <= set(what["options"])


def test_it_is_recorded_before_and_after(staff):
    staff.say("gina", "status", "ps77")
    begun, ended = staff.entries(verb="status", arguments={"assignment": "ps77"})
    assert (begun["who"], begun["how"], begun["outcome"]) == ("gina", "classhub", "begun")
    assert ended["outcome"] == "1 done, 1 skipped"
    assert begun["job"] == ended["job"]
    assert begun["time"] <= ended["time"]
    assert staff.log.stat().st_mode & 0o777 == 0o600


def test_two_at_once_are_not_taken_for_each_other(staff):
    said = {("gina", "ps61"), ("prof", "ps62"), ("late", "ps63"), ("prof", "ps64")}
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda one: staff.say(one[0], "status", one[1]).returncode, said))
    assert done == [0] * len(said)
    entries = [
        line for line in staff.entries(verb="status") if line["arguments"]["assignment"] > "ps6"
    ]
    assert said <= {(line["who"], line["arguments"]["assignment"]) for line in entries}
    assert len({line["job"] for line in entries}) == len(entries) / 2


def test_somebody_failed_is_the_exit_code(staff):
    said = staff.say("gina", "collect", "half")
    assert (said.returncode, said.stderr) == (1, "")
    assert "bob  failed: has no home" in said.stdout


def test_a_verb_that_fails_says_why(staff):
    said = staff.say("gina", "status", "none")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == "classhub: hub: there is no assignment 'none'\n"
    assert staff.entries(who="gina")[-1]["outcome"].startswith("refused: hub: there is no")


def test_rights_go_with_the_role(staff):
    refused = staff.say("gina", "release", "ps1")
    assert refused.returncode == 2
    sentence = "you have no right to that: release: graders have no right to it"
    assert refused.stderr == f"classhub: {sentence}\n"
    assert staff.entries(who="gina", verb="release")[-1]["outcome"] == "refused: no right to it"
    assert staff.say("prof", "release", "ps1", "--no-generate").returncode == 0
    assert staff.say("prof", "return", "ps1", "--students=ada").returncode == 0


def test_what_the_operator_says_is_recorded_too(staff, master):
    assert master.salt_run_cli(timeout=60).run("classhub.status", "ps88").returncode == 0
    begun, ended = staff.entries(verb="status", arguments={"assignment": "ps88"})
    assert begun["how"] == ended["how"] == "salt-run"
    assert begun["who"].removeprefix("sudo_") == os.environ.get("SUDO_USER", "root")
    found = staff.run("audit", user="gina", verb="collect").told
    assert found
    assert {(entry["who"], entry["verb"]) for entry in found} == {("gina", "collect")}
    assert staff.run("audit", since="2100-01-01").told == []


# -- what is not ------------------------------------------------------------------------------------------------------

OPERATORS = [
    "deploy", "audit", "staff_token", "staff_tokens", "revoke_staff_token", "keep_schedule", "keep_calendar",
    "import_activity", "backup", "snapshots", "drill", "recover",
]  # fmt: skip
NOT_VERBS = [
    "releasex", "xclasshub.status", "status,cmd.run", "status\ncmd.run", "../status", "__init__", "_course", "_record",
    "", " status", "STATUS", "salt.cmd", "state.orchestrate", "manage.up", "cmd.run", "classhub.status", "status.x",
]  # fmt: skip


@pytest.mark.parametrize("verb", OPERATORS + NOT_VERBS)
def test_no_other_function_is_a_verb(staff, verb):
    status, body = asked(staff, "prof", verb=verb, words=[])
    assert status == 403
    assert "instructors have no right to it" in json.loads(body)["error"]


SHAPES = [
    {"verb": ["status", "cmd.run"]},
    {"words": "ps1"},
    {"words": [["ps1"], ["id"]]},
    {"words": [{"__kwarg__": True, "test": False}]},
    {"words": ["ps1", "extra"]},
    {"words": []},
    {"options": ["--force"]},
    {"client": "local"},
    {"client": "local_async", "tgt": "*", "fun": "cmd.run"},
    {"client": "wheel"},
    {"client": "ssh"},
    {"eauth": "classhub", "username": "gina"},
    {"options": {"__pub_user": "root"}},
    {"options": {"full_return": True}},
    {"options": {"timeout": 1}},
    {"options": {"__kwarg__": True}},
    {"verb": "collect", "options": {"test": "False"}},
    {"verb": "collect", "options": {"test": 1}},
    {"words": ["--force"]},
    {"words": ["ps1\n--force"]},
    {"verb": "receipt", "words": ["--help"]},
    {"verb": "autograde", "options": {"students": "-x"}},
]


@pytest.mark.parametrize("changes", SHAPES)
def test_a_request_that_is_not_one_does_nothing(staff, changes):
    before = len(staff.entries(outcome="begun"))
    status, body = asked(staff, **changes)
    assert status == 400, body
    assert len(staff.entries(outcome="begun")) == before


def test_batches_are_not_requests(staff):
    one = {"client": "runner", "fun": "classhub.status", "eauth": "classhub"} | staff.known["gina"]
    for batch in ([one, one | {"fun": "salt.cmd"}], "status", 5, None):
        assert request(staff, json.dumps(batch).encode())[0] == 400
    assert request(staff, b"client=runner&fun=classhub.status")[0] == 400
    for nonsense in (b"\xff\xfe{", b"[" * 60000, b"1" * 60000):
        assert request(staff, nonsense)[0] == 400


@pytest.mark.parametrize(
    "path",
    ["/run", "/login", "/logout", "/token", "/hook/x", "/events", "/ws/x", "/jobs", "/minions", "/keys", "/stats"],
)  # fmt: skip
def test_nothing_of_salts_own_interface_is_there(staff, path):
    token = staff.known["prof"]["token"]
    assert request(staff, method="GET", path=path, **{"X-Auth-Token": token})[0] == 501
    assert request(staff, b"{}", path=path, **{"X-Auth-Token": token})[0] == 404
    assert request(staff, method="OPTIONS", path=path, Origin="https://evil.test")[0] == 501


def test_words_are_data(staff):
    said = staff.say("gina", "receipt", "; id", "$(id)")
    asked_of_hub = json.loads("\n".join(said.stdout.splitlines()[3:]))["asked"]
    assert asked_of_hub["arguments"] == ["; id", "$(id)"]


def test_a_large_request_is_not_read(staff):
    with contextlib.suppress(OSError):  # it was cut off
        assert request(staff, b"x" * 10_000_000)[0] == 404


# -- who is who -------------------------------------------------------------------------------------------------------


def test_a_wrong_token_is_refused_in_the_same_words_as_a_wrong_name(staff):
    other = staff.known["prof"]["token"]
    recorded = staff.log.read_bytes()
    tries = [{"token": "x"}, {"token": other}, {"token": "\ud800"}, {"token": ""}]
    tries += [{"user": "root"}, {"user": "nobody"}, {"user": "prof"}, {"user": ""}]
    assert {asked(staff, **wrong) for wrong in tries} == {
        (401, '{"error": "the name or the token is wrong"}')
    }
    assert staff.log.read_bytes() == recorded  # strangers cannot fill the disk
    assert "127.0.0.1: a wrong token of 'nobody'" in (staff.top / "api.log").read_text()
    said = staff.say("gina", "status", "ps1", CLASSHUB_TOKEN=other)
    assert said.returncode == 2
    assert said.stderr == "classhub: the class does not know you: the name or the token is wrong\n"


def test_students_and_strangers_get_no_token(staff):
    assert (
        "ada is a student, and those have no right to any verb"
        in staff.run("staff_token", "ada").told
    )
    assert "mallory is not on the roster" in staff.run("staff_token", "mallory").told
    assert set(staff.run("staff_tokens").told) == {"gina", "prof", "late"}


def test_who_leaves_the_roster_is_refused_at_once(staff):
    roster = staff.top / "pillar/roster.csv"
    assert staff.say("late", "assignments").returncode in (0, 1)
    for changed, sentence in (
        (ROSTER.replace("late,grader\n", ""), "status: late is not on the roster"),
        (ROSTER.replace("late,grader", "late,student"), "status: students have no right to it"),
    ):
        roster.write_text(changed)
        said = staff.say("late", "status", "ps1")
        assert (said.returncode, sentence in said.stderr) == (2, True), said.stderr
    roster.write_text(ROSTER)
    assert staff.say("late", "status", "ps1").returncode == 0


def test_a_revoked_token_is_refused_at_once(staff):
    assert staff.run("revoke_staff_token", "late").well
    assert asked(staff, "late")[0] == 401
    assert not (staff.root / "etc/salt/pki/api/late.json").exists()
    assert "late has no token" in staff.run("revoke_staff_token", "late").told
    staff.files["late"] = staff.top / "late.json"  # a new one, while the old stays worthless
    assert staff.run("staff_token", "late").well
    assert asked(staff, "late")[0] == 401


def test_tokens_are_nowhere_but_in_their_files(staff, master):
    secret = [known["token"].encode() for known in staff.known.values()]
    handed = set(staff.files.values()) | {
        staff.root / f"etc/salt/pki/api/{name}.json" for name in staff.known
    }
    for file in staff.root.rglob("*"):
        if file.is_file() and file not in handed:
            assert not any(token in file.read_bytes() for token in secret), file
    assert not any(token in (staff.top / "api.log").read_bytes() for token in secret)
    for file in handed | {staff.root / "etc/salt/pki/api/known_tokens.json"}:
        assert not file.exists() or file.stat().st_mode & 0o777 == 0o600


def test_one_address_cannot_take_all_the_room(staff, api):
    """Callers that say nothing have their number; beyond it they are sent away at once."""
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(socket.create_connection(("127.0.0.1", api["port"])))
        with pytest.raises(OSError):  # noqa: PT011 - of TLS or of the socket, as it happens
            asked(staff)
        assert asked(staff, source="127.0.0.2")[0] == 200
    wait_until("there is room again", lambda: asked(staff)[0] == 200, 60, ignoring=(OSError,))


# -- what the command says --------------------------------------------------------------------------------------------


def with_file(staff, tmp_path, mode=0o600, **changes):
    file = tmp_path / "classhub.json"
    file.write_text(json.dumps(staff.known["gina"] | changes))
    file.chmod(mode)
    return staff.say("gina", "status", "ps1", CLASSHUB_CONFIG=str(file))


def test_another_certificate_does_not_see_the_token(staff, tmp_path):
    said = with_file(staff, tmp_path, fingerprint="0" * 64)
    assert said.returncode == 3
    assert "is not the class's" in said.stderr
    assert "Nothing was sent" in said.stderr


def test_a_certificate_that_is_not_pinned_has_to_be_trusted(staff, tmp_path, api):
    said = with_file(staff, tmp_path, fingerprint="")
    assert (said.returncode, "is not trusted" in said.stderr) == (3, True)
    der = ssl.PEM_cert_to_DER_cert(Path(api["certificate"]).read_text())
    digest = hashlib.sha256(der).hexdigest().upper()
    colons = ":".join(digest[i : i + 2] for i in range(0, 64, 2))
    assert with_file(staff, tmp_path, fingerprint=colons).returncode == 0


def test_a_class_that_is_not_there(staff, tmp_path):
    said = with_file(staff, tmp_path, url=f"https://127.0.0.1:{free_port()}/")
    assert (said.returncode, "cannot be reached" in said.stderr) == (3, True)


def test_a_file_that_others_can_read_is_not_used(staff, tmp_path):
    said = with_file(staff, tmp_path, mode=0o640)
    assert (said.returncode, "can be read by others" in said.stderr) == (2, True)


# -- the record -------------------------------------------------------------------------------------------------------


def test_what_cannot_be_recorded_is_not_done(staff):
    """Root is stopped by no mode of a file; a link in its place is one that is not followed."""
    kept = staff.log.with_suffix(".kept")
    staff.log.rename(kept)
    staff.log.symlink_to(staff.top / "elsewhere")
    try:
        said = staff.say("gina", "collect", "ps1")
        told = staff.run("status", "ps1")
    finally:
        staff.log.unlink()
        shutil.move(kept, staff.log)
    assert said.returncode == 1
    assert "Nothing was done, for it cannot be recorded" in said.stderr
    assert "Nothing was done, for it cannot be recorded" in told.told
    assert not (staff.top / "elsewhere").exists()


def test_a_bypassable_master_deploys_nothing(staff, master):
    config = Path(master.config_file)
    before = config.read_text()
    config.write_text(before + "\npublisher_acl: {carol: [test.ping]}\n")
    try:
        told = staff.run("deploy")
    finally:
        config.write_text(before)
    assert not told.well
    assert "publisher_acl: whoever may run one function by it can run any" in told.told
