"""A class's settings: defaults merged with pillar, and every fault in them found at once.

Pure functions; `_pillar/classhub.py` calls them on the master, so that a faulty class is refused before any host
changes anything.
"""

import copy
import datetime
import difflib
import hashlib
import ipaddress
import re
import zoneinfo
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

ROLES = ("proxy", "hub", "node")
DRIVERS = ("nfs", "shared", "local")
TLS = ("self-signed", "files", "acme")
AUTHENTICATORS = ("lab", "github", "oauth")
PENALTIES = ("none", "zero")
EGRESS = ("open", "allow-list", "none")
# settings that only one role may read; every other minion gets them empty
PRIVATE = {
    "hub:lab_password": "hub",
    "hub:github:client_secret": "hub",
    "hub:oauth:client_secret": "hub",
    "hub:oauth:settings": "hub",
    "proxy:key": "proxy",
    "course:source:deploy_key": "hub",
    "backup:password": "hub",
    "backup:environment": "hub",
    "backup:ssh_key": "hub",
}
# directories of the hub with what cannot be made again
SAVED = (
    "/home",
    "/etc/classhub",
    "/etc/jupyterhub",
    "/srv/stats",
    "/var/lib/classhub",
    "/var/lib/jupyterhub",
)

_PORTS = ("port", "tls_port", "api_port", "proxy_api_port", "formgrader_port", "dashboard_port")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+)([KMGT]?)")
_HOST_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_COURSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_DIGEST = re.compile(r"[\w.:/-]+@sha256:[0-9a-f]{64}")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[\w,-]+\])?==[\w.+!-]+")
_REPOSITORY = re.compile(
    r"https://[^@\s]+|ssh://[\w.@:-]+/\S+|[A-Za-z0-9][\w.-]*@[A-Za-z0-9][\w.-]*:\S+|file:///\S+"
)
_REF = re.compile(r"(?!.*(\.\.|//|/\.|\.lock$))[A-Za-z0-9][\w./+-]{0,199}")
_SUBDIR = re.compile(r"(?!/|(.*/)?\.\.?(/|$))[\w. +-]*(/[\w. +-]+)*/?")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_SITE = re.compile(r"https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?")
_CLASS = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_]\w*)*")
_TRAIT = re.compile(r"[a-z][a-z0-9_]*")
# of an authenticator, what the roster decides
_DECIDED = re.compile(
    r"any_allow_config|allow(?!ed_idps).*|admin.*|whitelist|blocked_users|manage_.*|groups|logins_file|enable_auth_state"
    r"|auth_refresh.*|refresh_.*|delete_invalid_users"
)
_EMAIL = re.compile(r"[\w.+-]+@[A-Za-z0-9][\w.-]*")
_BACKUP = re.compile(
    r"/[^\s:]+|sftp:(//([\w.-]+@)?[\w.-]+(:\d+)?/|([\w.-]+@)?[A-Za-z0-9][\w.-]*:)[^\s:]+|s3:(https?://)?[\w.-]+(:\d+)?/\S+"
)
_HTTPS = re.compile(r"https://[A-Za-z0-9][\w.-]*(:\d+)?(/[\w./~-]*)?")


def size(text: str | int) -> int:
    """Bytes of a size such as ``512M`` or ``1G`` (powers of 1024; a bare number is bytes).

    Raises:
        ValueError: ``text`` is not a size.
    """
    match = _SIZE.fullmatch(str(text))
    if not match:
        raise ValueError(f"{text!r} is not a size; write bytes as 512M or 1G")
    return int(match[1]) * _UNITS[match[2]]


def merge(defaults: dict, overrides: dict) -> dict:
    """A copy of ``defaults`` with ``overrides`` laid over it, mapping by mapping; lists and scalars are replaced."""
    merged = copy.deepcopy(defaults)
    for key, value in overrides.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def compose(defaults: dict, overrides: object) -> tuple[dict, list[str]]:
    """Settings that are safe to render states from, and every fault of ``overrides``.

    Args:
        defaults: the content of ``salt/defaults.yaml``.
        overrides: pillar ``classhub`` of the class.

    Returns:
        ``(settings, faults)``: a faulty value is replaced by its default in ``settings``, and named with its key in
        ``faults``.
    """
    if not isinstance(overrides, dict) or not overrides:
        return copy.deepcopy(defaults), [
            "classhub: the pillar has no settings; start from pillar/example/"
        ]
    faults = _shape(defaults, overrides, "classhub")
    settings = merge(defaults, _well_shaped(defaults, overrides))
    faults += _values(settings)
    faults += _hosts(settings["hosts"])
    settings["hosts"] = {k: v for k, v in settings["hosts"].items() if not _host_faults(k, v)}
    return settings, faults + _networks(settings) + _relations(settings)


def for_minion(settings: dict, minion_id: str) -> dict:
    """``settings`` as one minion sees them: its place in the class added, other roles' secrets emptied."""
    hosts = settings["hosts"]
    mine = merge(settings, {"id": minion_id})
    host = hosts.get(minion_id, {})
    mine["roles"] = list(host.get("roles", []))
    mine["address"] = host.get("address", "")
    for role in ("hub", "proxy"):
        mine[f"{role}_host"] = next(
            ({"id": k, "address": v["address"]} for k, v in hosts.items() if role in v["roles"]), {}
        )
    mine["public_certificate"] = is_public(settings["proxy"])
    mine["nodes"] = {k: v["address"] for k, v in hosts.items() if "node" in v["roles"]}
    mine["backup"] |= {"trees": list(SAVED)}
    mine["firewall"] |= _openings(settings["firewall"], mine["roles"])
    for path, role in PRIVATE.items():
        if role not in mine["roles"]:
            *sections, key = path.split(":")
            section = mine
            for name in sections:
                section = section[name]
            section[key] = _emptied(section[key])
    return mine


def _emptied(value: object) -> object:
    """A secret's place. A mapping keeps its keys: Salt lays it over the pillar, of which an empty one would hide nothing."""
    return dict.fromkeys(value, "") if isinstance(value, dict) else type(value)()


def _openings(firewall: dict, roles: list[str]) -> dict:
    """What the firewall of a host with these roles opens, network by network; nothing of what is faulty."""
    ssh = [{"port": 22, "from": [each for each in firewall["admin"] if _passes(_network, each)]}]
    allow = [each for each in firewall["allow"] if _passes(_opening, each)]
    out = [each for each in firewall["egress_allow"] if _passes(_destination, each)]
    return {
        "inbound": [
            {"network": network, "port": each["port"], "protocol": each.get("protocol", "tcp")}
            for each in ssh + allow
            if set(each.get("roles", roles)) & set(roles)
            for network in each["from"]
        ],
        "outbound": [_destination(each) for each in out if firewall["egress"] == "allow-list"],
    }


def recipe(folder: Path, *ingredients: object) -> str:
    """Sixteen hex digits that change whenever a file under ``folder`` or an ingredient does."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    digest.update(repr(ingredients).encode())
    return digest.hexdigest()[:16]


# -- shape: the right keys with the right types ----------------------------------------------------------------------


def _fits(default: object, value: object) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, str):
        return isinstance(value, str | int | float)  # 1073741824 is as good a size as 1G
    if isinstance(default, int | float):
        return isinstance(value, int) or (isinstance(value, float) and isinstance(default, float))
    return isinstance(value, type(default))


# mappings whose keys the class chooses
_FREE = (
    "hosts", "groups", "assignments", "roles", "sections", "settings", "users", "environment",
)  # fmt: skip


def _shape(defaults: dict, given: dict, where: str) -> list[str]:
    faults = []
    for key, value in given.items():
        path = f"{where}:{key}"
        if key not in defaults:
            close = difflib.get_close_matches(str(key), map(str, defaults), n=1)
            faults.append(
                f"{path}: unknown setting" + (f"; did you mean {close[0]}?" if close else "")
            )
        elif not _fits(defaults[key], value):
            faults.append(f"{path}: must be {_word(defaults[key])}, not {_word(value)}")
        elif isinstance(value, dict) and key not in _FREE:
            faults += _shape(defaults[key], value, path)
    return faults


def _well_shaped(defaults: dict, given: dict) -> dict:
    """``given`` without the parts that `_shape` complains about."""
    kept = {}
    for key, value in given.items():
        if key in defaults and _fits(defaults[key], value):
            nested = isinstance(value, dict) and key not in _FREE
            kept[key] = (
                _well_shaped(defaults[key], value) if nested else _typed(defaults[key], value)
            )
    return kept


def _typed(default: object, value: object) -> object:
    """A number where a text is due is meant as one: a title 2026, a size 1073741824."""
    return str(value) if isinstance(default, str) else value


def _word(value: object) -> str:
    words = {
        dict: "a mapping",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
    }
    return words.get(type(value), f"{value!r}" if value is None else type(value).__name__)


# -- values: each one by itself --------------------------------------------------------------------------------------


def _one_of(allowed: Iterable[str]) -> Callable[[object], None]:
    def check(value: object) -> None:
        if value not in allowed:
            raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")

    return check


def _matches(pattern: re.Pattern, hint: str) -> Callable[[object], None]:
    def check(value: object) -> None:
        if not pattern.fullmatch(str(value)):
            raise ValueError(f"{value!r} is not {hint}")

    return check


def _number(low: float, high: float) -> Callable[[object], None]:
    def check(value: object) -> None:
        if not low <= value <= high:
            raise ValueError(f"{value} is not between {low} and {high}")

    return check


def _each(check: Callable[[object], object]) -> Callable[[object], None]:
    def check_all(values: list) -> None:
        for value in values:
            check(value)

    return check_all


def _passes(check: Callable[[object], object], value: object) -> bool:
    try:
        check(value)
    except (ValueError, TypeError):
        return False
    return True


def _optional(check: Callable[[object], object]) -> Callable[[object], None]:
    return lambda value: check(value) if value else None


def _pem(label: str) -> Callable[[object], None]:
    return _matches(
        re.compile(rf"(?s).*-----BEGIN [A-Z ]*{label}-----.*"), f"PEM text of a {label.lower()}"
    )


def _timezone(value: object) -> None:
    try:
        zoneinfo.ZoneInfo(str(value))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{value!r} is not a time zone; write an IANA name such as Europe/Paris"
        ) from None


def _plain_file(value: object) -> None:
    if Path(str(value)).is_absolute() or ".." in Path(str(value)).parts:
        raise ValueError(f"{value!r} must be a file inside a pillar root")


def _absolute(value: object) -> None:
    if not Path(str(value)).is_absolute():
        raise ValueError(f"{value!r} is not an absolute path")


def _texts(values: list) -> None:
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a text")


def _groups(groups: dict) -> None:
    for role, group in groups.items():
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", str(group)):
            raise ValueError(f"{group!r} of {role} is not a group's name")
    if len(set(groups.values())) < len(groups):
        raise ValueError("two roles have one group")


def _authenticator(settings: dict) -> None:
    for name in settings:
        if not _TRAIT.fullmatch(str(name)):
            raise ValueError(f"{name!r} is not the name of a setting")
        if name == "client_secret":
            raise ValueError("client_secret has a place of its own, hub:oauth:client_secret")
        if _DECIDED.fullmatch(name):
            raise ValueError(f"{name} is decided by classhub: who is on the roster may sign in")


def _repository(value: object) -> None:
    # a value that is none may have a password in it, and is not shown
    if not _BACKUP.fullmatch(str(value)):
        raise ValueError(
            "is no absolute directory, sftp:user@host:path or s3:https://host/bucket, without a password"
        )


def _password(value: object) -> None:
    if not str(value).isprintable() or str(value) != str(value).strip():
        raise ValueError("must be of one line, and neither begin nor end with a space")


def _environment(given: dict) -> None:
    for name, value in given.items():
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", str(name)):
            raise ValueError(f"{name!r} is not the name of an environment variable")
        if name.startswith(("RESTIC_", "LD_", "PYTHON")) or name in ("PATH", "HOME", "TMPDIR"):
            raise ValueError(f"{name} is decided by classhub")
        if not isinstance(value, str) or not value.isprintable():
            raise ValueError(f"the value of {name} is not a text of one line")


def _kept(keep: dict) -> None:
    for kind, number in keep.items():
        if not _fits(0, number) or not 0 <= number <= 10_000:
            raise ValueError(f"{number!r} of {kind} is not a number from 0 to 10000")
    if not any(keep.values()):
        raise ValueError("would keep nothing")


def _clock(value: object) -> None:
    try:
        datetime.datetime.strptime(str(value), "%H:%M")
    except ValueError:
        raise ValueError(f'{value!r} is not a time of day; write it with quotes, "03:30"') from None


def _pressure(value: float) -> None:
    if value and not 0.1 <= value < 1:
        raise ValueError(f"{value} is not a part of the memory, from 0.1 up to 1, nor 0")


_LEAST_QUOTA = 16 * 2**20
_LEAST_FILES = 1000


def _quotas(quotas: dict) -> None:
    """Of roles or of people; a small one is a unit that was forgotten, and would lock everybody out."""
    for name, value in quotas.items():
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"{value!r} of {name} is not a size; write bytes as 512M or 1G")
        if 0 < size(value) < _LEAST_QUOTA:
            raise ValueError(f"{value} of {name} is less than 16M; write a size such as 5G, or 0")


def _warn(value: float) -> None:
    if value and not 0.1 <= value < 1:
        raise ValueError(f"{value} is not a part of the disk, from 0.1 up to 1, nor 0")


_PORT = _number(1, 65535)
_OPENING = ("port", "from", "protocol", "roles")


def _network(value: object) -> None:
    if "%" in str(value):
        raise ValueError(f"{value!r} is not a network")
    ipaddress.ip_network(str(value))


def _admin(networks: list) -> None:
    if not networks:
        raise ValueError("is empty: nobody would reach SSH")
    _each(_network)(networks)


def _opening(given: object) -> None:
    """One entry of firewall:allow."""
    if not isinstance(given, dict) or not {"port", "from"} <= set(given) <= set(_OPENING):
        raise ValueError(f"{given!r} is not a mapping of {', '.join(_OPENING)}")
    port, networks, roles = given["port"], given["from"], given.get("roles", list(ROLES))
    if not _fits(0, port) or not isinstance(networks, list) or not isinstance(roles, list):
        raise ValueError(f"{given!r}: port is a number; from and roles are lists")
    _PORT(port)
    _each(_network)(networks)
    _one_of(("tcp", "udp"))(given.get("protocol", "tcp"))
    _each(_one_of(ROLES))(roles)


def _destination(given: object) -> dict:
    """One entry of firewall:egress_allow; its port is 0 where it has none."""
    network, colon, port = str(given).partition(":")
    if colon and not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError(f"{given!r} is not an IPv4 network, with a port or without")
    _PORT(int(port or 1))
    return {"network": str(ipaddress.IPv4Network(network)), "port": int(port or 0)}


_MONTHS = 180 * 86400
_LEAST_GRACE = 600
_LIMITS: dict[str, Callable[[object], object]] = {
    "idle": _number(10, _MONTHS),
    "cap": _number(0, _MONTHS),
    "grace": _number(0, _MONTHS),
}
_WAIT = _number(1, 86400)
_CHECKS: dict[str, Callable[[object], object]] = {
    "course:id": _matches(_COURSE, "a course id (letters, digits, - and _)"),
    "course:timezone": _timezone,
    "course:grace": _number(0, 7 * 86400),
    "course:late_penalty": _one_of(PENALTIES),
    "course:max_files": _number(1, 1_000_000),
    "course:max_size": size,
    "course:source:directory": _optional(_absolute),
    "course:source:git": _optional(
        _matches(
            _REPOSITORY,
            "a repository (https://, ssh://, git@host:path or file://), without a password",
        )
    ),
    "course:source:ref": _matches(_REF, "a branch, tag or commit"),
    "course:source:subdir": _matches(_SUBDIR, "a directory inside the repository"),
    "course:source:deploy_key": _optional(_pem("PRIVATE KEY")),
    "domain": _matches(_DOMAIN, "a domain name such as class.example.edu"),
    "site:ca_bundle": _optional(_pem("CERTIFICATE")),
    "site:packages": _each(_matches(_PACKAGE, "a Debian package")),
    "roster:file": _plain_file,
    "roster:staff_file": _optional(_plain_file),
    "roster:drops": _number(0, 1_000_000),
    "roster:groups": _groups,
    "roster:first_uid": _number(2000, 60000),
    "staff:access_servers": _texts,
    "engine:log_max_size": lambda v: size(str(v).upper()),
    "engine:log_max_file": _number(1, 100),
    "firewall:admin": _admin,
    "firewall:allow": _each(_opening),
    "firewall:egress": _one_of(EGRESS),
    "firewall:egress_allow": _each(_destination),
    "storage:driver": _one_of(DRIVERS),
    "storage:nfs_options": _texts,
    "storage:wait": _WAIT,
    "storage:quota:roles": _quotas,
    "storage:quota:users": _quotas,
    "storage:quota:files": _optional(_number(_LEAST_FILES, 10**9)),
    "storage:quota:over": _number(0, 1),
    "storage:warn": _warn,
    "image:reference": _optional(
        _matches(_DIGEST, "an image by digest (name@sha256:<64 hex digits>)")
    ),
    "image:base_archive": _optional(_absolute),
    "image:store": _absolute,
    "image:packages": _each(_matches(_PACKAGE, "a Debian package")),
    "image:stack": _each(_matches(_REQUIREMENT, "a pinned Python package (name==version)")),
    "image:wait": _WAIT,
    "server:memory": size,
    "server:memory_guarantee": size,
    "server:tmp": size,
    "server:cpus": _number(0, 1024),
    "server:pids": _number(32, 1_000_000),
    "server:default_url": _matches(re.compile(r"/[\w/.-]*"), "a path such as /lab"),
    "server:start_timeout": _number(10, 3600),
    "server:pending_timeout": _number(1, 600),
    "server:poll_interval": _number(1, 3600),
    "grading:memory": size,
    "grading:disk": size,
    "grading:cpus": _number(0.1, 1024),
    "grading:per_cpu": _number(1, 16),
    "grading:pids": _number(32, 1_000_000),
    "grading:cell_seconds": _number(1, 86400),
    "grading:seconds": _number(1, 86400),
    "grading:output": _number(1000, 1_000_000_000),
    "grading:wait": _WAIT,
    "cull:interval": _optional(_number(60, 7 * 86400)),
    **{f"cull:{key}": check for key, check in _LIMITS.items()},
    "cull:pressure": _pressure,
    "cull:concurrency": _number(1, 100),
    "cull:timeout": _number(1, 300),
    "cull:before_due": _number(0, 7 * 24 * 60),
    "cull:pins": _texts,
    # uses join in the database over ten minutes, and the hub itself may tell of one five minutes late
    "activity:interval": _optional(_number(60, 300)),
    "activity:keep": _number(0, 36500),
    "backup:repository": _optional(_repository),
    "backup:password": _optional(_password),
    "backup:environment": _environment,
    "backup:ssh_key": _optional(_pem("PRIVATE KEY")),
    "backup:interval": _number(300, 7 * 86400),
    "backup:keep": _kept,
    "backup:max_file": size,
    "backup:drill:time": _clock,
    "backup:drill:files": _number(1, 500),
    "hub:port": _PORT,
    "hub:tls_port": _PORT,
    "hub:api_port": _PORT,
    "hub:proxy_api_port": _PORT,
    "hub:formgrader_port": _PORT,
    "hub:authenticator": _one_of(AUTHENTICATORS),
    "hub:github:url": _matches(_SITE, "an address such as https://github.example.edu"),
    "hub:oauth:class": _optional(
        _matches(_CLASS, "an authenticator (generic-oauth, or module.Class)")
    ),
    "hub:oauth:settings": _authenticator,
    "hub:active_server_limit": _number(0, 1_000_000),
    "hub:concurrent_spawn_limit": _number(1, 1000),
    "hub:wait": _WAIT,
    "proxy:tls": _one_of(TLS),
    "proxy:certificate": _optional(_pem("CERTIFICATE")),
    "proxy:key": _optional(_pem("PRIVATE KEY")),
    "proxy:acme:email": _optional(_matches(_EMAIL, "an address for mail")),
    "proxy:acme:directory": _matches(_HTTPS, "the https address of an ACME directory"),
    "proxy:acme:ca_bundle": _optional(_pem("CERTIFICATE")),
    "proxy:warn_days": _number(0, 365),
    "proxy:body_size": size,
    "proxy:sign_in_rate": _number(1, 100_000),
    "proxy:sign_in_burst": _number(0, 100_000),
    "proxy:hsts": _number(0, 2**31),
}


def _values(settings: dict) -> list[str]:
    faults = []
    for path, check in _CHECKS.items():
        value = settings
        for key in path.split(":"):
            value = value[key]
        try:
            check(value)
        except (ValueError, TypeError) as error:
            faults.append(f"classhub:{path}: {error}")
    return faults


# -- hosts, networks, and what must agree with what ------------------------------------------------------------------


def _host_faults(minion_id: object, host: object) -> list[str]:
    where = f"classhub:hosts:{minion_id}"
    if not _HOST_ID.fullmatch(str(minion_id)):
        return [f"{where}: a minion id is lower-case letters, digits and -"]
    if not isinstance(host, dict):
        return [f"{where}: must be a mapping with address and roles"]
    faults = [f"{where}:{key}: unknown setting" for key in host if key not in ("address", "roles")]
    try:
        ipaddress.IPv4Address(str(host.get("address")))
    except ValueError:
        faults.append(f"{where}:address: {host.get('address')!r} is not an IPv4 address")
    roles = host.get("roles")
    if not isinstance(roles, list) or not roles:
        return [*faults, f"{where}:roles: must be a list of {', '.join(ROLES)}"]
    return faults + [
        f"{where}:roles: unknown role {role!r}; the roles are {', '.join(ROLES)}"
        for role in roles
        if role not in ROLES
    ]


def _hosts(hosts: dict) -> list[str]:
    faults = [fault for minion_id, host in hosts.items() for fault in _host_faults(minion_id, host)]
    sound = {k: v for k, v in hosts.items() if not _host_faults(k, v)}
    for role, most in (("hub", 1), ("proxy", 1), ("node", None)):
        found = [k for k, v in sound.items() if role in v["roles"]]
        if not found:
            faults.append(f"classhub:hosts: no host has the role {role}")
        elif most and len(found) > most:
            faults.append(
                f"classhub:hosts: only one host may have the role {role}, not {', '.join(found)}"
            )
    owners: dict[str, str] = {}
    for minion_id, host in sound.items():
        first = owners.setdefault(host["address"], minion_id)
        if first != minion_id:
            faults.append(
                f"classhub:hosts:{minion_id}:address: {host['address']} is {first}'s already"
            )
    return faults


def _networks(settings: dict) -> list[str]:
    """The ranges that Docker takes on each host: valid, and clear of each other and of the class's hosts."""
    engine, faults = settings["engine"], []
    ranges: list[tuple[str, ipaddress.IPv4Network]] = []

    def add(path: str, text: object) -> None:
        try:
            ranges.append((path, ipaddress.IPv4Network(str(text))))
        except ValueError as error:
            faults.append(f"classhub:engine:{path}: {error}; write a network such as 172.31.0.0/16")

    try:
        bip = ipaddress.IPv4Interface(str(engine["bip"]))
        if bip.network.prefixlen > 28 or bip.ip == bip.network.network_address:
            raise ValueError(
                f"{engine['bip']!r} must be a host address in a network of /28 or larger"
            )
        ranges.append(("bip", bip.network))
    except ValueError as error:
        faults.append(
            f"classhub:engine:bip: {error}; write the bridge's address such as 172.30.0.1/24"
        )
    for number, pool in enumerate(engine["address_pools"]):
        path = f"address_pools:{number}"
        if not isinstance(pool, dict) or set(pool) != {"base", "size"}:
            faults.append(f"classhub:engine:{path}: must be a mapping with base and size")
            continue
        add(f"{path}:base", pool["base"])
        if not isinstance(pool["size"], int) or not 8 <= pool["size"] <= 30:
            faults.append(
                f"classhub:engine:{path}:size: {pool['size']!r} is not a prefix length from 8 to 30"
            )
    add("swarm_address_pool", engine["swarm_address_pool"])
    for number, (path, network) in enumerate(ranges):
        for other_path, other in ranges[:number]:
            if network.overlaps(other):
                faults.append(f"classhub:engine:{path}: {network} overlaps {other_path} ({other})")
        for minion_id, host in settings["hosts"].items():
            if (
                not _host_faults(minion_id, host)
                and ipaddress.IPv4Address(host["address"]) in network
            ):
                faults.append(f"classhub:engine:{path}: {network} holds the address of {minion_id}")
    return faults


def _relations(settings: dict) -> list[str]:
    faults, server, proxy, hub = [], settings["server"], settings["proxy"], settings["hub"]
    try:
        if size(server["memory_guarantee"]) > size(server["memory"]):
            faults.append("classhub:server:memory_guarantee: is more than classhub:server:memory")
    except ValueError:
        pass  # each is reported by itself
    if settings["storage"]["driver"] == "local" and len(settings["hosts"]) > 1:
        faults.append(
            "classhub:storage:driver: local serves a class of one host; use nfs or shared"
        )
    faults += _certificate(proxy, settings["domain"])
    faults += _source(settings["course"]["source"])
    faults += _backup(settings["backup"])
    faults += _limits(settings["cull"], settings["roster"]["groups"])
    faults += [
        f"classhub:storage:quota:roles:{role}: is not a role of the roster; those are "
        + ", ".join(settings["roster"]["groups"])
        for role in settings["storage"]["quota"]["roles"]
        if role not in settings["roster"]["groups"]
    ]
    if hub["authenticator"] == "lab" and is_public(proxy):
        faults.append(
            "classhub:hub:authenticator: lab is for labs; a class with a real certificate may not use it"
        )
    if hub["github"]["url"].startswith("http:") and is_public(proxy):
        faults.append("classhub:hub:github:url: http is for labs; write https://")
    if hub["authenticator"] == "oauth" and not hub["oauth"]["class"]:
        faults.append("classhub:hub:oauth:class: missing; the oauth authenticator needs it")
    if len({hub[key] for key in _PORTS}) < len(_PORTS):
        faults.append(f"classhub:hub: {', '.join(_PORTS[:-1])} and {_PORTS[-1]} must differ")
    return faults


def _source(source: dict) -> list[str]:
    faults = []
    if source["directory"] and source["git"]:
        faults.append(
            "classhub:course:source: give either a directory or a git repository, not both"
        )
    if source["deploy_key"] and source["git"].startswith(("https:", "file:")):
        faults.append("classhub:course:source:deploy_key: is for a repository that is read by ssh")
    return faults


def _backup(backup: dict) -> list[str]:
    place = backup["repository"]
    if place.startswith("sftp:") and not backup["known_hosts"].strip():
        return [
            "classhub:backup:known_hosts: missing; the hub has to know the server of the repository (ssh-keyscan)"
        ]
    inside = [saved for saved in SAVED if Path(place).is_relative_to(saved)]
    return [
        f"classhub:backup:repository: is in {saved}, which is saved itself: take another disk"
        for saved in inside
    ]


def _limits(cull: dict, roles: Iterable[str]) -> list[str]:
    """What is wrong with the overrides for roles and sections."""
    faults = [
        f"classhub:cull:roles:{role}: is not a role of the roster; those are {', '.join(roles)}"
        for role in cull["roles"]
        if role not in roles
    ]
    for group in ("roles", "sections"):
        for name, given in cull[group].items():
            where = f"classhub:cull:{group}:{name}"
            if not isinstance(given, dict):
                faults.append(f"{where}: must be a mapping of {', '.join(_LIMITS)}")
                continue
            for key, value in given.items():
                faults += [f"{where}:{fault}" for fault in _limit(key, value, cull["pressure"])]
    return faults + _grace("classhub:cull:grace", cull["grace"], cull["pressure"])


def _limit(key: object, value: object, pressure: float) -> list[str]:
    if key not in _LIMITS:
        return [f"{key}: unknown setting; there are {', '.join(_LIMITS)}"]
    if not _fits(0, value):
        return [f"{key}: must be a whole number, not {_word(value)}"]
    try:
        _LIMITS[key](value)
    except ValueError as error:
        return [f"{key}: {error}"]
    return _grace("grace", value, pressure) if key == "grace" else []


def _grace(where: str, seconds: int, pressure: float) -> list[str]:
    """Where memory is short the grace is all that keeps a server whose student reads what it says."""
    if pressure and seconds < _LEAST_GRACE:
        return [
            f"{where}: is less than {_LEAST_GRACE}; with a pressure, students at work would be stopped"
        ]
    return []


def _certificate(proxy: dict, domain: str) -> list[str]:
    if proxy["tls"] != "files":
        return []
    if not proxy["certificate"]:
        return ["classhub:proxy:certificate: missing; classhub:proxy:tls is files"]
    try:
        leaf = _leaf(proxy["certificate"])
    except ValueError as error:
        return [f"classhub:proxy:certificate: cannot be read: {error}"]
    faults, names, ends = [], _names(leaf), leaf.not_valid_after_utc
    if not {domain, f"*.{domain.partition('.')[2]}"} & set(names):
        faults.append(
            f"classhub:proxy:certificate: is for {', '.join(names) or 'no name'}, not for {domain}"
        )
    if ends <= _now():
        faults.append(f"classhub:proxy:certificate: expired on {ends:%Y-%m-%d}; put a new one")
    return faults + _key(proxy["key"], leaf)


def _key(key: str, leaf: x509.Certificate) -> list[str]:
    """What is wrong with the key, where it is told: in the settings of the proxy alone."""
    if not key:
        return []
    try:
        public = serialization.load_pem_private_key(key.encode(), password=None).public_key()
    except TypeError:
        return [
            "classhub:proxy:key: has a password, which nobody could give at a start; take it off"
        ]
    except ValueError:
        return ["classhub:proxy:key: cannot be read as the PEM text of a private key"]
    if public != leaf.public_key():
        return ["classhub:proxy:key: does not belong to classhub:proxy:certificate"]
    return []


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _leaf(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem.encode())[0]


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def is_public(proxy: dict) -> bool:
    """Whether the class shows a certificate that somebody else has signed: a class for real, not a lab.

    Args:
        proxy: settings ``classhub:proxy``.
    """
    if proxy["tls"] == "acme":
        return True
    if proxy["tls"] != "files" or not proxy["certificate"]:
        return False
    try:
        leaf = _leaf(proxy["certificate"])
    except ValueError:
        return True  # reported as a fault; until it is mended, the careful answer
    return leaf.issuer != leaf.subject


def role_faults(settings: dict, minion_id: str, roles: list[str]) -> list[str]:
    """Faults that only one minion can have: its place in the class and the secrets of its roles."""
    if minion_id not in settings["hosts"]:
        return [f"classhub:hosts: this minion, {minion_id}, is not one of the class's hosts"]
    faults = []
    if "hub" in roles:
        hub, kind = settings["hub"], settings["hub"]["authenticator"]
        needed = {
            "lab": {"lab_password": hub["lab_password"]},
            "github": {
                f"github:{key}": hub["github"][key] for key in ("client_id", "client_secret")
            },
        }
        faults += [
            f"classhub:hub:{key}: missing; the {kind} authenticator needs it"
            for key, value in needed.get(kind, {}).items()
            if not value
        ]
        backup = settings["backup"]
        if backup["repository"] and not backup["password"]:
            faults.append(
                "classhub:backup:password: missing; put it into pillar/secrets/, and keep it where no hub can lose it"
            )
        if backup["repository"].startswith("sftp:") and not backup["ssh_key"]:
            faults.append(
                "classhub:backup:ssh_key: missing; put the private key into pillar/secrets/"
            )
    if "proxy" in roles and settings["proxy"]["tls"] == "files" and not settings["proxy"]["key"]:
        faults.append("classhub:proxy:key: missing; put the private key into pillar/secrets/")
    return faults
