"""Who of the staff may say what to the class, and the tokens by which they are known to its master.

The roster says who is staff; it is read anew for each verb, so that who leaves it is refused at once. Tokens are kept
as salted scrypt, in a file that only root can read.
"""

import contextlib
import datetime
import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

# verbs of the runner `classhub`; all that is in neither list is the operator's alone
_GRADERS = (
    "activity",
    "assignments",
    "autograde",
    "calendar",
    "collect",
    "feedback",
    "grades",
    "receipt",
    "status",
    "verify",
)
_INSTRUCTORS = (
    "cull",
    "disk",
    "doctor",
    "drain",
    "fetch_source",
    "forget_identity",
    "hotfix",
    "pull_activity",
    "release",
    "restore",
    "resume",
    "return_",
    "roster",
    "seal",
)
VERBS = {"grader": frozenset(_GRADERS), "instructor": frozenset(_GRADERS + _INSTRUCTORS)}

# The master's options that let people in by Salt's own rights, and what is wrong with them in Salt 3008.3
# (tests/integration/test_bypass.py).
_BYPASSABLE = {
    "publisher_acl": "whoever may run one function by it can run any, as root, with a compound command",
    "external_auth": "whoever it lets in can run anything, as root, with a compound command that begins with "
    "saltutil.find_job, whatever its rules say",
    "netapi_enable_clients": "it lets salt-api pass on commands by those two; classhub's own way in needs none",
}
_NOBODY = {"salt": "00" * 16, "key": "00" * 32}


def may(role: str, verb: str) -> bool:
    """Whether a role of the roster may say a verb."""
    return verb in VERBS.get(role, ())


def roles(show_pillar: Callable[..., dict], master_id: str) -> dict[str, str]:
    """Username -> role of everybody who is on the roster at this moment.

    Args:
        show_pillar: the runner ``pillar.show_pillar``.
        master_id: the master's id, which is no minion's.
    """
    hub = show_pillar(master_id, id=master_id)["classhub"]["hub_host"].get("id")
    people = show_pillar(hub, id=hub)["classhub"]["people"] if hub else []
    return {person["username"]: person["role"] for person in people}


def faults(staff: dict, people: list[dict]) -> list[str]:
    """What is wrong with pillar ``classhub:staff``: who is named there has to be staff on the roster."""
    known = {person["username"] for person in people if person["role"] in VERBS}
    return [
        f"classhub:staff:access_servers: {name} is not on the roster as grader or instructor"
        for name in staff["access_servers"]
        if name not in known
    ]


def bypasses(opts: dict) -> list[str]:
    """What in the master's configuration lets people around their rights: a sentence for each option."""
    return [f"{option}: {why}" for option, why in _BYPASSABLE.items() if opts.get(option)]


# -- tokens ----------------------------------------------------------------------------------------------------------


def tokens_file(opts: dict) -> Path:
    """Where the master keeps what it knows of the tokens. Beside it are those that wait to be handed out, each by a
    username, and no username has a _."""
    return Path(opts["root_dir"]) / "etc/salt/pki/api/known_tokens.json"


def new_token(file: Path, user: str) -> str:
    """A new token of a person, in place of an older one."""
    token, salt = secrets.token_urlsafe(32), os.urandom(16)
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with _changing(file) as known:
        known[user] = {"salt": salt.hex(), "key": _key(token, salt).hex(), "since": since}
    return token


def fingerprint(certificate: str) -> str:
    """SHA-256 of the certificate that a PEM file begins with, in hex digits."""
    leaf = x509.load_pem_x509_certificates(Path(certificate).read_bytes())[0]
    return leaf.fingerprint(hashes.SHA256()).hex()


def holders(file: Path) -> dict[str, str]:
    """Username -> since when the person has a token."""
    return {user: entry["since"] for user, entry in sorted(_read(file).items())}


def revoke(file: Path, user: str) -> bool:
    """Forget a person's token; whether there was one."""
    with _changing(file) as known:
        return known.pop(user, None) is not None


def is_right(file: Path, user: str, token: str) -> bool:
    """Whether this is the person's token; of somebody unknown it costs as much to say no."""
    entry = _read(file).get(user, _NOBODY)
    return hmac.compare_digest(
        _key(token, bytes.fromhex(entry["salt"])), bytes.fromhex(entry["key"])
    )


def _key(token: str, salt: bytes) -> bytes:
    return hashlib.scrypt(token.encode("utf-8", "replace"), salt=salt, n=2**14, r=8, p=1, dklen=32)


def _read(file: Path) -> dict[str, dict[str, str]]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


@contextlib.contextmanager
def _changing(file: Path) -> Iterator[dict]:
    """The tokens, written back when the block has ended well, while nobody else changes them."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(file.with_suffix(".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = _read(file)
        yield known
        write_private(file, json.dumps(known, indent=1) + "\n")


def write_private(file: Path, text: str) -> None:
    """Put a text in a file's place, readable to nobody but root."""
    beside = file.with_name(f".{file.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
    beside.replace(file)
