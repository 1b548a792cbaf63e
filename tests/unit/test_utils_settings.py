"""Every fault of a class's settings is found, with its key; sound settings pass whole."""

import copy
import datetime

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from salt.utils import dictupdate

from tests.support.loading import ROOT, load

settings = load("utils", "classhub_settings")
DEFAULTS = yaml.safe_load((ROOT / "salt/defaults.yaml").read_text())
SOUND = {
    "domain": "class.example.edu",
    "hosts": {
        "proxy": {"address": "192.0.2.10", "roles": ["proxy"]},
        "hub": {"address": "192.0.2.11", "roles": ["hub"]},
        "node1": {"address": "192.0.2.21", "roles": ["node"]},
    },
    "hub": {"lab_password": "not-a-secret"},
}


def faults_of(**changes):
    given = settings.merge(SOUND, changes)
    return settings.compose(DEFAULTS, given)[1]


def test_sound_settings_have_no_faults():
    composed, faults = settings.compose(DEFAULTS, SOUND)
    assert faults == []
    assert composed["server"]["memory"] == "1G"
    assert composed["domain"] == "class.example.edu"


@pytest.mark.parametrize(
    ("text", "size"),
    [("1G", 2**30), ("512M", 2**29), (4096, 4096), ("4096", 4096), ("2T", 2**41), ("1K", 1024)],
)
def test_size(text, size):
    assert settings.size(text) == size


@pytest.mark.parametrize("text", ["1 GBB", "1GB", "-1G", "", "G", "1.5G", None])
def test_size_refuses(text):
    with pytest.raises(ValueError, match="not a size"):
        settings.size(text)


ALLOWED = {"port": 9100, "from": ["10.0.0.0/8"]}
QUOTA = "classhub:storage:quota"
BAD = [
    ({"storage": {"warn": 90}}, "classhub:storage:warn: 90 is not a part of the disk"),
    ({"storage": {"warn": 1.0}}, "classhub:storage:warn: 1.0 is not a part of the disk"),
    ({"storage": {"quota": {"students": "5G"}}}, f"{QUOTA}:students: unknown setting"),
    (
        {"storage": {"quota": {"roles": {"students": "5G"}}}},
        f"{QUOTA}:roles:students: is not a role of the roster; those are student,",
    ),
    (
        {"storage": {"quota": {"roles": {"student": 5}}}},
        f"{QUOTA}:roles: 5 of student is less than 16M; write a size such as 5G, or 0",
    ),
    ({"storage": {"quota": {"roles": {"student": "5GB"}}}}, f"{QUOTA}:roles: '5GB' is not a size"),
    ({"storage": {"quota": {"users": {"ada": True}}}}, f"{QUOTA}:users: True of ada is not a size"),
    ({"storage": {"quota": {"users": {"ada": [5]}}}}, f"{QUOTA}:users: [5] of ada is not a size"),
    ({"storage": {"quota": {"users": {"ada": 1.5}}}}, f"{QUOTA}:users: 1.5 of ada is not a size"),
    ({"storage": {"quota": {"files": 10}}}, f"{QUOTA}:files: 10 is not between 1000"),
    ({"storage": {"quota": {"over": -0.1}}}, f"{QUOTA}:over: -0.1 is not between 0 and 1"),
    ({"firewall": {"admin": []}}, "classhub:firewall:admin: is empty"),
    (
        {"firewall": {"admin": ["10.0.0.1/8"]}},
        "classhub:firewall:admin: 10.0.0.1/8 has host bits set",
    ),
    ({"firewall": {"admin": ["fe80::1%x accept"]}}, "'fe80::1%x accept' is not a network"),
    ({"firewall": {"admin": [7]}}, "classhub:firewall:admin: '7' does not appear to be"),
    (
        {"firewall": {"allow": [9100]}},
        "classhub:firewall:allow: 9100 is not a mapping of port, from",
    ),
    ({"firewall": {"allow": [{"port": 9100}]}}, "is not a mapping of port, from, protocol, roles"),
    ({"firewall": {"allow": [ALLOWED | {"to": 1}]}}, "is not a mapping of port, from"),
    ({"firewall": {"allow": [ALLOWED | {"port": 0}]}}, "0 is not between 1 and 65535"),
    ({"firewall": {"allow": [ALLOWED | {"port": "ssh"}]}}, "port is a number"),
    ({"firewall": {"allow": [ALLOWED | {"from": "10.0.0.0/8"}]}}, "from and roles are lists"),
    ({"firewall": {"allow": [ALLOWED | {"from": ["campus"]}]}}, "'campus' does not appear to be"),
    ({"firewall": {"allow": [ALLOWED | {"protocol": "sctp"}]}}, "'sctp' is not one of tcp, udp"),
    ({"firewall": {"allow": [ALLOWED | {"roles": ["master"]}]}}, "'master' is not one of proxy"),
    ({"firewall": {"egress": "closed"}}, "'closed' is not one of open, allow-list, none"),
    (
        {"firewall": {"egress_allow": ["mirror.example.edu"]}},
        "classhub:firewall:egress_allow: Expected 4 octets",
    ),
    ({"firewall": {"egress_allow": ["10.0.0.1:http"]}}, "'10.0.0.1:http' is not an IPv4 network"),
    ({"firewall": {"egress_allow": ["10.0.0.1:"]}}, "'10.0.0.1:' is not an IPv4 network"),
    ({"firewall": {"egress_allow": ["10.0.0.1:99999"]}}, "99999 is not between 1 and 65535"),
    ({"firewall": {"egress_allow": [None]}}, "classhub:firewall:egress_allow: "),
    ({"server": {"memory": "1 GBB"}}, "classhub:server:memory: '1 GBB' is not a size"),
    ({"server": {"memory": "512M"}}, "classhub:server:memory_guarantee: is more than"),
    ({"sever": {}}, "classhub:sever: unknown setting; did you mean server?"),
    ({"server": {"memry": "1G"}}, "classhub:server:memry: unknown setting; did you mean memory?"),
    ({"server": "1G"}, "classhub:server: must be a mapping, not a text"),
    ({"server": {"pids": "many"}}, "classhub:server:pids: must be a whole number, not a text"),
    (
        {"server": {"pids": True}},
        "classhub:server:pids: must be a whole number, not true or false",
    ),
    ({"hub": {"port": 8000.5}}, "classhub:hub:port: must be a whole number, not a number"),
    ({"hub": {"port": 8000.0}}, "classhub:hub:port: must be a whole number, not a number"),
    ({"server": {"cpus": "two"}}, "classhub:server:cpus: must be a number, not a text"),
    ({"server": {"cpus": True}}, "classhub:server:cpus: must be a number, not true or false"),
    ({"server": {"cpus": -0.5}}, "classhub:server:cpus: -0.5 is not between 0 and 1024"),
    ({"course": {"title": ["A"]}}, "classhub:course:title: must be a text, not a list"),
    ({"course": {"title": True}}, "classhub:course:title: must be a text, not true or false"),
    (
        {"roster": {"groups": {"grader": "students"}}},
        "classhub:roster:groups: two roles have one group",
    ),
    (
        {"roster": {"groups": {"grader": "Course Staff"}}},
        "classhub:roster:groups: 'Course Staff' of grader is not a group's name",
    ),
    (
        {"roster": {"groups": {"grader": ["graders"]}}},
        "classhub:roster:groups: ['graders'] of grader is not a group's name",
    ),
    ({"storage": {"nfs_options": ["hard", 5]}}, "classhub:storage:nfs_options: 5 is not a text"),
    (
        {"storage": {"nfs_options": [{"timeo": 600}]}},
        "classhub:storage:nfs_options: {'timeo': 600} is not a text",
    ),
    ({"engine": {"package": "docker-ce"}}, "classhub:engine:package: unknown setting"),
    (
        {"hosts": {"node1": {"roles": ["nodes"]}}},
        "classhub:hosts:node1:roles: unknown role 'nodes'",
    ),
    ({"hosts": {"node1": {"roles": []}}}, "classhub:hosts:node1:roles: must be a list"),
    (
        {"hosts": {"node1": {"address": "300.1.1.1"}}},
        "classhub:hosts:node1:address: '300.1.1.1' is not",
    ),
    (
        {"hosts": {"node1": {"address": "192.0.2.11"}}},
        "classhub:hosts:node1:address: 192.0.2.11 is hub's",
    ),
    (
        {"hosts": {"Node_9": {"address": "192.0.2.9", "roles": ["node"]}}},
        "classhub:hosts:Node_9: a minion id",
    ),
    (
        {"hosts": {"hub2": {"address": "192.0.2.9", "roles": ["hub"]}}},
        "only one host may have the role hub",
    ),
    ({"hosts": {"node1": {"roles": ["hub"]}}}, "classhub:hosts: no host has the role node"),
    ({"engine": {"bip": "172.30.0.1/33"}}, "classhub:engine:bip:"),
    ({"engine": {"bip": "172.30.0.0/24"}}, "classhub:engine:bip:"),
    ({"engine": {"bip": "192.0.2.1/24"}}, "192.0.2.0/24 holds the address of hub"),
    ({"engine": {"swarm_address_pool": "172.31.0.0/20"}}, "overlaps address_pools:0:base"),
    (
        {"engine": {"swarm_address_pool": "10.0.0.1/8"}},
        "classhub:engine:swarm_address_pool: 10.0.0.1/8 has host bits",
    ),
    (
        {"engine": {"address_pools": [{"base": "10.1.0.0/16"}]}},
        "classhub:engine:address_pools:0: must be",
    ),
    (
        {"storage": {"driver": "ceph"}},
        "classhub:storage:driver: 'ceph' is not one of nfs, shared, local",
    ),
    ({"storage": {"driver": "local"}}, "classhub:storage:driver: local serves a class of one host"),
    ({"course": {"timezone": "Paris"}}, "classhub:course:timezone: 'Paris' is not a time zone"),
    ({"course": {"id": "data 101"}}, "classhub:course:id: 'data 101' is not a course id"),
    ({"cull": {"idle": 5}}, "classhub:cull:idle: 5 is not between 10 and"),
    ({"cull": {"idle": "1d"}}, "classhub:cull:idle: must be a whole number, not a text"),
    ({"activity": {"keep": -1}}, "classhub:activity:keep: -1 is not between 0 and 36500"),
    ({"activity": {"interval": 900}}, "classhub:activity:interval: 900 is not between 60 and 300"),
    ({"activity": {"interval": 5}}, "classhub:activity:interval: 5 is not between 60 and 300"),
    ({"cull": {"interval": 30}}, "classhub:cull:interval: 30 is not between 60 and"),
    ({"cull": {"cap": -1}}, "classhub:cull:cap: -1 is not between 0 and"),
    ({"cull": {"pressure": 90}}, "classhub:cull:pressure: 90 is not a part of the memory"),
    ({"cull": {"pressure": 1.0}}, "classhub:cull:pressure: 1.0 is not a part of the memory"),
    (
        {"cull": {"pressure": 0.9, "grace": 60}},
        "classhub:cull:grace: is less than 600; with a pres",
    ),
    (
        {"cull": {"pressure": 0.9, "sections": {"A": {"grace": 0}}}},
        "classhub:cull:sections:A:grace: is less than 600; with a pressure",
    ),
    ({"cull": {"concurrency": 0}}, "classhub:cull:concurrency: 0 is not between 1 and 100"),
    ({"cull": {"pins": ["ada", 5]}}, "classhub:cull:pins: 5 is not a text"),
    ({"cull": {"pins": "ada"}}, "classhub:cull:pins: must be a list, not a text"),
    (
        {"cull": {"roles": {"teacher": {"idle": 60}}}},
        "classhub:cull:roles:teacher: is not a role of the roster; those are student, grader, inst",
    ),
    (
        {"cull": {"roles": {"grader": 60}}},
        "classhub:cull:roles:grader: must be a mapping of idle, cap, grace",
    ),
    (
        {"cull": {"sections": {"A": {"idel": 60}}}},
        "classhub:cull:sections:A:idel: unknown setting; there are idle, cap, grace",
    ),
    (
        {"cull": {"sections": {"A": {"idle": 1}}}},
        "classhub:cull:sections:A:idle: 1 is not between 10 and",
    ),
    (
        {"cull": {"sections": {"A": {"cap": True}}}},
        "classhub:cull:sections:A:cap: must be a whole number, not true or false",
    ),
    ({"domain": "https://x.edu"}, "classhub:domain: 'https://x.edu' is not a domain name"),
    ({"image": {"reference": "classhub/student:latest"}}, "classhub:image:reference:"),
    (
        {"image": {"stack": ["numpy"]}},
        "classhub:image:stack: 'numpy' is not a pinned Python package",
    ),
    ({"image": {"stack": ["numpy==1; rm -rf /"]}}, "classhub:image:stack:"),
    ({"roster": {"file": "../../etc/shadow"}}, "classhub:roster:file:"),
    ({"proxy": {"tls": "files"}}, "classhub:proxy:certificate: missing"),
    (
        {"proxy": {"tls": "acem"}},
        "classhub:proxy:tls: 'acem' is not one of self-signed, files, acme",
    ),
    (
        {"proxy": {"acme": {"directory": "http://ca.example.edu/directory"}}},
        "classhub:proxy:acme:directory: 'http://ca.example.edu/directory' is not the https address",
    ),
    (
        {"proxy": {"acme": {"email": "it@example.edu\nserver = x"}}},
        "classhub:proxy:acme:email: 'it@example.edu\\nserver = x' is not an address",
    ),
    ({"proxy": {"warn_days": -1}}, "classhub:proxy:warn_days: -1 is not between"),
    ({"proxy": {"certificate": "hello"}}, "classhub:proxy:certificate: 'hello' is not PEM text"),
    (
        {"hub": {"port": 8081}},
        "classhub:hub: port, tls_port, api_port, proxy_api_port, formgrader_port and dashboard_port must differ",
    ),
]


@pytest.mark.parametrize(("change", "fault"), BAD, ids=[fault for _, fault in BAD])
def test_fault_is_named_with_its_key(change, fault):
    assert any(fault in found for found in faults_of(**change)), faults_of(**change)


TEXTS = [
    ("course", "id", 101, "101"),
    ("course", "title", 2026, "2026"),
    ("course", "title", 1.5, "1.5"),
    ("hub", "lab_password", 12345, "12345"),
    ("engine", "log_max_size", 5000000, "5000000"),
    ("server", "memory", 2147483648, "2147483648"),
]


@pytest.mark.parametrize(("section", "key", "given", "text"), TEXTS)
def test_number_in_the_place_of_a_text_is_one(section, key, given, text):
    """YAML makes numbers of them, and what reads the settings would stumble over those."""
    composed, faults = settings.compose(DEFAULTS, settings.merge(SOUND, {section: {key: given}}))
    assert faults == []
    assert composed[section][key] == text
    assert type(composed[section][key]) is str


@pytest.mark.parametrize("cpus", [1.5, 2, 0, 0.25])
def test_cpus_may_be_a_fraction_or_not(cpus):
    composed, faults = settings.compose(DEFAULTS, settings.merge(SOUND, {"server": {"cpus": cpus}}))
    assert faults == []
    assert composed["server"]["cpus"] == cpus


CULLS = [
    {"interval": 0, "idle": 3600, "cap": 0, "grace": 0, "pressure": 0},
    {"pressure": 0.9, "grace": 600, "pins": ["ada"], "before_due": 120},
    {"roles": {"instructor": {"idle": 604800}}, "sections": {"A": {"cap": 7200, "grace": 60}}},
]


@pytest.mark.parametrize("cull", CULLS)
def test_idle_servers_are_stopped_as_a_class_says(cull):
    composed, faults = settings.compose(DEFAULTS, settings.merge(SOUND, {"cull": cull}))
    assert faults == []
    assert composed["cull"] == DEFAULTS["cull"] | cull


SOURCES = [
    {"directory": "/srv/course"},
    {"git": "https://git.example.edu/course.git", "ref": "2030/spring", "subdir": "homework/2030"},
    {"git": "git@git.example.edu:staff/course.git", "ref": "v1.0", "subdir": ""},
    {"git": "ssh://git@git.example.edu:2222/course.git", "ref": "0123abcd"},
    {"git": "file:///srv/course.git"},
]


@pytest.mark.parametrize("source", SOURCES)
def test_places_that_assignments_can_come_from(source):
    assert faults_of(course={"source": source}) == []


KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nnot-a-secret\n"
NO_SOURCES = [
    ({"directory": "srv/course"}, "directory: 'srv/course' is not an absolute path"),
    (
        {"directory": "/a", "git": "https://b/c"},
        "give either a directory or a git repository, not both",
    ),
    ({"git": "ext::sh -c id"}, "git: 'ext::sh -c id' is not a repository"),
    ({"git": "--upload-pack=id"}, "git: '--upload-pack=id' is not a repository"),
    ({"git": "https://pat:secret@b/c"}, "git: 'https://pat:secret@b/c' is not a repository"),
    ({"git": "http://b/c"}, "git: 'http://b/c' is not a repository"),
    ({"git": "-oProxyCommand=id@b:c"}, "git: '-oProxyCommand=id@b:c' is not a repository"),
    ({"ref": "--output=x"}, "ref: '--output=x' is not a branch"),
    ({"ref": "a..b"}, "ref: 'a..b' is not a branch"),
    ({"ref": "main@{1}"}, "ref: 'main@{1}' is not a branch"),
    ({"ref": ""}, "ref: '' is not a branch"),
    ({"subdir": "../x"}, "subdir: '../x' is not a directory"),
    ({"subdir": "a/../../x"}, "subdir: 'a/../../x' is not a directory"),
    ({"subdir": "/etc"}, "subdir: '/etc' is not a directory"),
    ({"deploy_key": "abc"}, "deploy_key: 'abc' is not PEM text"),
    (
        {"git": "https://b/c", "deploy_key": KEY},
        "deploy_key: is for a repository that is read by ssh",
    ),
    ({"branch": "main"}, "branch: unknown setting"),
]


@pytest.mark.parametrize(("source", "fault"), NO_SOURCES)
def test_faults_of_where_assignments_come_from(source, fault):
    (found,) = faults_of(course={"source": source})
    assert found.startswith("classhub:course:source")
    assert fault in found


def test_quotas_of_roles_and_people():
    quota = {
        "roles": {"student": "5G", "grader": 0},
        "users": {"ada": 2**34, "bob": "0"},
        "files": 100_000,
    }
    composed, faults = settings.compose(
        DEFAULTS, settings.merge(SOUND, {"storage": {"quota": quota, "warn": 0.0}})
    )
    assert faults == []
    assert composed["storage"]["quota"] == quota | {"over": 0.1}


REPOSITORIES = [
    "/mnt/backup/class",
    "sftp:backup@192.0.2.50:class",
    "sftp:store.example.edu:/srv/class",
    "sftp://backup@store.example.edu:2222//srv/class",
    "s3:https://objects.example.edu/class",
    "s3:s3.amazonaws.com/class/sub",
]


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_repositories_of_the_backup(repository):
    assert faults_of(backup={"repository": repository, "known_hosts": "store ssh-rsa A"}) == []


NO_BACKUPS = [
    ({"repository": "backup"}, "repository: is no absolute directory"),
    ({"repository": "rclone:x:y"}, "repository: is no absolute directory"),
    ({"repository": "s3:https://key:hunter2@host/b"}, "repository: is no absolute directory"),
    ({"repository": "sftp:-oProxyCommand=id@h:x", "known_hosts": "h"}, "is no absolute directory"),
    ({"repository": "/mnt/a b"}, "repository: is no absolute directory"),
    ({"repository": "/home/backup"}, "repository: is in /home, which is saved itself"),
    ({"repository": "/var/lib/classhub"}, "repository: is in /var/lib/classhub, which is saved"),
    ({"repository": "sftp:a@b:c"}, "known_hosts: missing"),
    ({"password": "hunter2\nx"}, "password: must be of one line"),
    ({"password": " hunter2"}, "password: must be of one line"),
    ({"environment": {"RESTIC_PASSWORD": "hunter2"}}, "RESTIC_PASSWORD is decided by classhub"),
    ({"environment": {"LD_PRELOAD": "hunter2"}}, "LD_PRELOAD is decided by classhub"),
    ({"environment": {"a b": "hunter2"}}, "'a b' is not the name of an environment variable"),
    ({"environment": {"AWS_KEY": 7}}, "the value of AWS_KEY is not a text"),
    ({"environment": {"AWS_KEY": "hunter2\nX=1"}}, "the value of AWS_KEY is not a text"),
    ({"ssh_key": "abc"}, "ssh_key: 'abc' is not PEM text"),
    ({"interval": 60}, "interval: 60 is not between"),
    ({"keep": {"hourly": 0, "daily": 0, "weekly": 0, "monthly": 0}}, "keep: would keep nothing"),
    ({"keep": {"hourly": -1}}, "keep: -1 of hourly is not a number"),
    ({"keep": {"yearly": 1}}, "keep:yearly: unknown setting"),
    ({"max_file": "10 GB"}, "max_file: '10 GB' is not a size"),
    ({"drill": {"time": "25:00"}}, "drill:time: '25:00' is not a time of day"),
    ({"drill": {"files": 0}}, "drill:files: 0 is not between"),
]


@pytest.mark.parametrize(("backup", "fault"), NO_BACKUPS)
def test_faults_of_the_backup(backup, fault):
    """And none of them shows what may be a secret."""
    (found,) = faults_of(backup=backup)
    assert found.startswith("classhub:backup:")
    assert fault in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("backup", "missing"),
    [
        ({"repository": "/mnt/b"}, ["password"]),
        ({"repository": "sftp:a@b:c", "known_hosts": "b ssh-rsa A"}, ["password", "ssh_key"]),
        ({"repository": "/mnt/b", "password": "not-a-secret"}, []),
        ({}, []),
    ],
)
def test_the_hub_has_to_have_the_backups_secrets(backup, missing):
    composed, faults = settings.compose(DEFAULTS, SOUND | {"backup": backup})
    assert faults == []
    for minion in ("hub", "node1"):
        mine = settings.for_minion(composed, minion)
        found = settings.role_faults(mine, minion, mine["roles"])
        named = [fault.split(":")[2] for fault in found]
        assert named == (missing if minion == "hub" else [])


def test_groups_and_nfs_options_of_ones_own():
    groups = {"student": "pupils", "grader": "ta-2026", "instructor": "staff"}
    assert faults_of(roster={"groups": groups}, storage={"nfs_options": ["soft"]}) == []


FAULTY_HOSTS = {
    "node2": {"address": "300.1.1.1", "roles": ["node"]},
    "node3": {"address": "192.0.2.23", "roles": ["noode"]},
    "node4": {"address": "192.0.2.24"},
    "node5": {"address": "192.0.2.25", "roles": ["node"], "rack": 7},
    "node6": "192.0.2.26",
    "Node_7": {"address": "192.0.2.27", "roles": ["node"]},
}


def test_faulty_hosts_are_told_and_dropped():
    """What reads the hosts may then count on an address and roles."""
    given = settings.merge(SOUND, {"hosts": FAULTY_HOSTS})
    composed, faults = settings.compose(DEFAULTS, given)
    assert composed["hosts"] == SOUND["hosts"]
    for minion in FAULTY_HOSTS:
        assert [fault for fault in faults if f"classhub:hosts:{minion}" in fault], minion
    seen = settings.for_minion(composed, "node3")
    assert (seen["roles"], seen["address"]) == ([], "")
    assert seen["nodes"] == {"node1": "192.0.2.21"}


def test_all_faults_come_at_once():
    found = faults_of(
        server={"memory": "1 GBB"},
        hosts={"node1": {"roles": ["nodes"]}},
        engine={"bip": "nonsense"},
        domain="",
    )
    for key in ("server:memory", "hosts:node1:roles", "engine:bip", "domain"):
        assert any(f"classhub:{key}" in fault for fault in found)


def pair(name, signer=None, days=1, password=None):
    """PEM texts of a certificate for `name`, signed by itself or by another, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, signer)]) if signer else subject
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, encryption)
    return built.public_bytes(encoding).decode(), private.decode()


def certificate(name, signer=None, days=1):
    """PEM text of a certificate for `name`."""
    return pair(name, signer, days)[0]


@pytest.mark.parametrize("name", ["class.example.edu", "*.example.edu"])
def test_a_given_certificate_of_ones_own_is_for_a_lab(name):
    proxy = {"tls": "files", "certificate": certificate(name)}
    assert faults_of(proxy=proxy) == []
    assert not settings.is_public(proxy)


def test_a_real_certificate_and_the_lab_authenticator_exclude_each_other():
    proxy = {"tls": "files", "certificate": certificate("class.example.edu", "Some CA")}
    assert settings.is_public(proxy)
    (fault,) = faults_of(proxy=proxy)
    assert fault.startswith("classhub:hub:authenticator: lab is for labs")


GITHUB = {"client_id": "Iv1.example", "client_secret": "not-a-secret"}


@pytest.mark.parametrize(
    "hub",
    [
        {"authenticator": "github", "github": GITHUB},
        {"authenticator": "oauth", "oauth": {"class": "generic-oauth"}},
    ],
)
def test_sign_in_elsewhere_goes_with_a_real_certificate(hub):
    proxy = {"tls": "files", "certificate": certificate("class.example.edu", "Some CA")}
    assert faults_of(proxy=proxy, hub=hub) == []


def test_a_real_class_sends_no_secret_in_the_clear():
    proxy = {"tls": "files", "certificate": certificate("class.example.edu", "Some CA")}
    hub = {"authenticator": "github", "github": GITHUB | {"url": "http://192.0.2.1:9999"}}
    assert faults_of(hub=hub) == []
    (fault,) = faults_of(proxy=proxy, hub=hub)
    assert fault == "classhub:hub:github:url: http is for labs; write https://"


NO_SIGN_IN = [
    ({"authenticator": "pam"}, "authenticator: 'pam' is not one of lab, github, oauth"),
    ({"github": {"url": "https://github.com/"}}, "github:url: 'https://github.com/' is not an"),
    ({"github": {"url": "github.com"}}, "github:url: 'github.com' is not an address"),
    ({"github": {"client_id": ["x"]}}, "github:client_id: must be a text, not a list"),
    ({"authenticator": "oauth"}, "oauth:class: missing; the oauth authenticator needs it"),
    ({"oauth": {"class": "os;x"}}, "oauth:class: 'os;x' is not an authenticator"),
    ({"oauth": {"settings": ["x"]}}, "oauth:settings: must be a mapping, not a list"),
    ({"oauth": {"settings": {"c.Spawner": 1}}}, "oauth:settings: 'c.Spawner' is not the name of"),
    ({"oauth": {"settings": {"client_secret": "x"}}}, "client_secret has a place of its own"),
]
NO_SIGN_IN += [
    ({"oauth": {"settings": {name: True}}}, f"oauth:settings: {name} is decided by classhub")
    for name in ("allow_all", "allowed_users", "admin_users", "enable_auth_state", "manage_groups")
]


@pytest.mark.parametrize(("hub", "fault"), NO_SIGN_IN)
def test_faults_of_sign_in(hub, fault):
    (found,) = faults_of(hub=hub)
    assert found.startswith("classhub:hub:")
    assert fault in found


def test_settings_of_another_authenticator():
    given = {"username_claim": "sub", "scope": ["openid"], "allowed_idps": {"x": {}}}
    oauth = {"class": "generic-oauth", "settings": given}
    composed, faults = settings.compose(DEFAULTS, settings.merge(SOUND, {"hub": {"oauth": oauth}}))
    assert faults == []
    assert composed["hub"]["oauth"]["settings"] == given


@pytest.mark.parametrize(
    "missing", [["client_id"], ["client_secret"], ["client_id", "client_secret"]]
)
def test_github_needs_a_registration_on_the_hub_alone(missing):
    github = {key: "" if key in missing else value for key, value in GITHUB.items()}
    hub = {"authenticator": "github", "github": github, "lab_password": ""}
    composed, faults = settings.compose(DEFAULTS, settings.merge(SOUND, {"hub": hub}))
    assert faults == []
    assert settings.role_faults(composed, "node1", ["node"]) == []
    assert settings.role_faults(composed, "hub", ["hub"]) == [
        f"classhub:hub:github:{key}: missing; the github authenticator needs it" for key in missing
    ]


def test_a_certificate_of_another_name():
    proxy = {"tls": "files", "certificate": certificate("other.example.org")}
    (fault,) = faults_of(proxy=proxy)
    assert (
        fault == "classhub:proxy:certificate: is for other.example.org, not for class.example.edu"
    )


def test_an_expired_certificate():
    given = certificate("class.example.edu", days=-1)
    (fault,) = faults_of(proxy={"tls": "files", "certificate": given})
    assert fault.startswith("classhub:proxy:certificate: expired on ")


def test_a_key_that_belongs_to_its_certificate():
    given, key = pair("class.example.edu")
    assert faults_of(proxy={"tls": "files", "certificate": given, "key": key}) == []


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        (pair("class.example.edu")[1], "does not belong to classhub:proxy:certificate"),
        (pair("class.example.edu", password=b"p")[1], "has a password"),
        ("-----BEGIN PRIVATE KEY-----\nnone\n", "cannot be read"),
    ],
    ids=["another", "with a password", "none"],
)
def test_a_key_that_does_not_serve(key, fault):
    given = {"tls": "files", "certificate": certificate("class.example.edu"), "key": key}
    (found,) = faults_of(proxy=given)
    assert found.startswith(f"classhub:proxy:key: {fault}")


def test_a_class_with_a_certificate_by_acme_is_no_lab():
    (fault,) = faults_of(proxy={"tls": "acme", "acme": {"email": "it@example.edu"}})
    assert fault.startswith("classhub:hub:authenticator: lab is for labs")


def test_a_certificate_that_is_none():
    text = "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n"
    found = faults_of(proxy={"tls": "files", "certificate": text})
    assert any("classhub:proxy:certificate: cannot be read" in fault for fault in found)


@pytest.mark.parametrize("given", [None, {}, "text", ["list"]])
def test_no_settings_at_all(given):
    composed, faults = settings.compose(DEFAULTS, given)
    assert composed == DEFAULTS
    assert faults == ["classhub: the pillar has no settings; start from pillar/example/"]


def test_a_minion_sees_only_its_own_secrets():
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nnot-a-secret\n"
    given = SOUND | {"course": {"source": {"deploy_key": key}}}
    oauth = {"client_secret": "not-a-secret", "settings": {"client_id": "class"}}
    given["backup"] = {
        "repository": "/mnt/backup",
        "password": "not-a-secret",
        "environment": {"AWS_SECRET_ACCESS_KEY": "not-a-secret"},
        "ssh_key": key,
    }
    given["hub"] = SOUND["hub"] | {"github": GITHUB, "oauth": oauth}
    composed, _ = settings.compose(DEFAULTS, given)
    hub, node = settings.for_minion(composed, "hub"), settings.for_minion(composed, "node1")
    assert hub["hub"]["lab_password"] == "not-a-secret"
    assert node["hub"]["lab_password"] == ""
    assert hub["hub"]["github"]["client_secret"] == "not-a-secret"
    assert node["hub"]["github"]["client_secret"] == ""
    assert (hub["hub"]["oauth"]["client_secret"], hub["hub"]["oauth"]["settings"]) == (
        "not-a-secret",
        {"client_id": "class"},
    )
    assert node["hub"]["oauth"]["client_secret"] == ""
    assert node["hub"]["oauth"]["settings"] == {"client_id": ""}
    assert hub["backup"]["password"] == "not-a-secret"
    assert hub["backup"]["ssh_key"] == key
    assert node["backup"]["repository"] == "/mnt/backup"
    assert "not-a-secret" not in str(node)
    assert hub["course"]["source"]["deploy_key"].startswith("-----BEGIN")
    assert node["course"]["source"]["deploy_key"] == ""
    assert node["roles"] == ["node"]
    assert node["hub_host"] == {"id": "hub", "address": "192.0.2.11"}
    assert hub["nodes"] == {"node1": "192.0.2.21"}


def test_nothing_of_the_pillar_shines_through_what_is_private():
    """Salt merges what the master hands out into the pillar of the class's files."""
    secret = SOUND["hub"]["lab_password"]
    oauth = {"settings": {"userdata_params": {"key": [secret]}, "keys": [secret]}}
    backup = {"environment": {"AWS_SECRET_ACCESS_KEY": secret}}
    given = settings.merge(SOUND, {"hub": {"oauth": oauth}, "backup": backup})
    composed, _ = settings.compose(DEFAULTS, given)
    for minion, shown in (("hub", True), ("node1", False), ("mallory", False)):
        mine = {"classhub": settings.for_minion(composed, minion)}
        merged = dictupdate.merge({"classhub": given}, mine, strategy="smart")
        assert (secret in str(merged)) == shown


def test_a_stranger_is_told():
    composed, _ = settings.compose(DEFAULTS, SOUND)
    assert "mallory" in settings.role_faults(composed, "mallory", [])[0]


def test_merge_copies():
    defaults = copy.deepcopy(DEFAULTS)
    settings.merge(defaults, {"engine": {"address_pools": []}})
    assert defaults == DEFAULTS


def test_recipe_follows_files_and_ingredients(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM base")
    first = settings.recipe(tmp_path, "a")
    assert settings.recipe(tmp_path, "a") == first
    assert settings.recipe(tmp_path, "b") != first
    (tmp_path / "Dockerfile").write_text("FROM other")
    assert settings.recipe(tmp_path, "a") != first


def opened(minion, **firewall):
    composed, _ = settings.compose(DEFAULTS, settings.merge(SOUND, {"firewall": firewall}))
    return settings.for_minion(composed, minion)["firewall"]


def test_ssh_is_open_to_all_until_somebody_says_to_whom():
    """The first apply may lock nobody out."""
    everywhere = [{"network": n, "port": 22, "protocol": "tcp"} for n in ("0.0.0.0/0", "::/0")]
    assert opened("node1")["inbound"] == everywhere
    (one,) = opened("node1", admin=["192.0.2.0/28"])["inbound"]
    assert one["network"] == "192.0.2.0/28"


def test_what_the_site_opens_is_open_on_hosts_with_the_role():
    exporter = ALLOWED | {"roles": ["node"]}
    other = {"port": 161, "protocol": "udp", "from": ["10.1.0.0/16", "2001:db8::/32"]}
    _, _, *node = opened("node1", allow=[exporter, other])["inbound"]
    _, _, *hub = opened("hub", allow=[exporter, other])["inbound"]
    assert node[0] == {"network": "10.0.0.0/8", "port": 9100, "protocol": "tcp"}
    assert node[1:] == hub
    assert [(each["network"], each["protocol"]) for each in hub] == [
        ("10.1.0.0/16", "udp"),
        ("2001:db8::/32", "udp"),
    ]


def test_the_list_counts_only_where_it_is_asked_for():
    listed = ["198.51.100.0/24", "198.51.100.9:443"]
    assert opened("node1", egress="allow-list", egress_allow=listed)["outbound"] == [
        {"network": "198.51.100.0/24", "port": 0},
        {"network": "198.51.100.9/32", "port": 443},
    ]
    assert opened("node1", egress="none", egress_allow=listed)["outbound"] == []
    assert opened("node1", egress_allow=listed)["outbound"] == []


def test_nothing_faulty_reaches_the_rules():
    firewall = opened(
        "node1",
        admin=["10.0.0.0/8", "x; accept"],
        allow=[9100, {"port": 1}, ALLOWED],
        egress="allow-list",
        egress_allow=["mirror.example.edu", "198.51.100.9"],
    )
    assert [each["network"] for each in firewall["inbound"]] == ["10.0.0.0/8", "10.0.0.0/8"]
    assert firewall["outbound"] == [{"network": "198.51.100.9/32", "port": 0}]
