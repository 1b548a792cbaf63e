"""The people of the class as system users of the hub."""

import contextlib
import fcntl
import grp
import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_roster"
LEDGER = "/var/lib/classhub/uids.json"
NAMES = "/home/.nss"
HOMES = "/home"
# a home is in reach of its student's notebooks, ~/.ssh/authorized_keys included: no way to sign in to the hub itself
_SHELL = "/usr/sbin/nologin"


def __virtual__():
    return __virtualname__


def ledger() -> dict[str, int]:
    """The uid of everybody who was ever in the class.

    Raises:
        CommandExecutionError: the ledger cannot be read. It must not be guessed: restore it from the backup.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_roster.ledger
    """
    try:
        known = json.loads(Path(LEDGER).read_text(encoding="utf-8"))
        if not isinstance(known, dict) or any(type(uid) is not int for uid in known.values()):
            raise ValueError("it does not map names to uids")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CommandExecutionError(
            f"{LEDGER} cannot be read ({error}); restore it from the backup, or people would get others' uids"
        ) from error
    return known


def plan() -> dict:
    """What the hub's accounts lack against the roster, and the ledger with a uid for everybody.

    Returns:
        ``ledger`` (username -> uid), ``people`` (username -> list of what would be done), ``faults`` (list of texts).

    CLI Example:

    .. code-block:: bash

        salt hub classhub_roster.plan
    """
    settings = __pillar__["classhub"]
    people, roster = settings["people"], settings["roster"]
    known = ledger()
    accounts = {entry.pw_name: entry for entry in pwd.getpwall()}
    # an account of this host whose uid the roster gives to its own name becomes one of the class
    wanted = {(person["username"], person["uid"]) for person in people}
    taken = {
        entry.pw_uid
        for name, entry in accounts.items()
        if name not in known and (name, entry.pw_uid) not in wanted
    }
    grown, faults = __utils__["classhub_roster.assign"](
        people, known, taken, int(roster["first_uid"])
    )
    todo = {}
    for person in people:
        name = person["username"]
        if name in accounts and accounts[name].pw_uid != grown.get(name):
            faults.append(
                f"{name}: is an account of this host already (uid {accounts[name].pw_uid}); the class would give it "
                f"uid {grown.get(name)}. Take the account away or give the roster its uid"
            )
        elif name in grown:
            todo[name] = _lacks(person, grown[name], accounts.get(name), roster["groups"])
    return {"ledger": grown, "people": {k: v for k, v in todo.items() if v}, "faults": faults}


def _lacks(
    person: dict, uid: int, account: pwd.struct_passwd | None, groups: dict[str, str]
) -> list[str]:
    name, lacks = person["username"], []
    if account is None:
        lacks.append("account")
    else:
        lacks += ["name"] * (account.pw_gecos != _gecos(person))
        lacks += ["shell"] * (account.pw_shell != _SHELL)
    if name not in _members(groups[person["role"]]):
        lacks.append(f"group {groups[person['role']]}")
    if any(name in _members(group) for role, group in groups.items() if role != person["role"]):
        lacks.append("other groups left")
    home = Path(HOMES, name)
    if not home.is_dir() or home.is_symlink():
        lacks.append("home")
    else:
        status = home.stat()
        if (status.st_uid, status.st_gid, status.st_mode & 0o7777) != (uid, uid, 0o700):
            lacks.append("home rights")
    if any(_read(path) != text for path, text in _name_files(person, uid).items()):
        lacks.append("name files")
    return lacks


def _gecos(person: dict) -> str:
    return person["name"].replace(",", " ")


def _members(group: str) -> list[str]:
    try:
        return grp.getgrnam(group).gr_mem
    except KeyError:
        return []


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def _name_files(person: dict, uid: int) -> dict[Path, str]:
    """The one line of passwd and of group that the student's container sees (libnss-extrausers)."""
    name, folder = person["username"], Path(NAMES, person["username"])
    return {
        folder / "passwd": f"{name}:x:{uid}:{uid}:{_gecos(person)}:{HOMES}/{name}:/bin/bash\n",
        folder / "group": f"{name}:x:{uid}:\n",
    }


def apply() -> dict:
    """Bring the hub's accounts in line with the roster. Adds and mends; never deletes an account or a home.

    Returns:
        username -> ``done: what`` or ``failed: why``, for everybody who lacked something.

    Raises:
        CommandExecutionError: the roster contradicts the ledger or the host; nothing was done.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_roster.apply
    """
    with _lock():
        planned = plan()
        if planned["faults"]:
            raise CommandExecutionError(
                "The roster was not applied:\n- " + "\n- ".join(planned["faults"])
            )
        settings = __pillar__["classhub"]
        # first the ledger: a uid is taken from the moment that an account might have it
        _write(Path(LEDGER), json.dumps(planned["ledger"], indent=1, sort_keys=True) + "\n", 0o600)
        for group in settings["roster"]["groups"].values():
            if not _group_exists(group):
                added = __salt__["group.add"](group, system=True)
                _must(added, f"group {group} could not be added")
        _folder(Path(NAMES), 0o711)
        people = {person["username"]: person for person in settings["people"]}
        table = {}
        for name, lacks in planned["people"].items():
            try:
                _settle(people[name], planned["ledger"][name], settings["roster"]["groups"])
                table[name] = f"done: {', '.join(lacks)}"
            except (CommandExecutionError, OSError) as error:
                table[name] = f"failed: {error}"
        return table


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """One reconciliation at a time: two would give one uid to two people."""
    _folder(Path(LEDGER).parent, 0o755)
    with open(Path(LEDGER).with_suffix(".lock"), "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _settle(person: dict, uid: int, groups: dict[str, str]) -> None:
    name = person["username"]
    if not _group_exists(name):
        _must(__salt__["group.add"](name, gid=uid), f"group {name} could not be added")
    if __salt__["user.info"](name) == {}:
        home = f"{HOMES}/{name}"
        added = __salt__["user.add"](  # noqa: S604 - its shell is the login shell
            name,
            uid=uid,
            gid=uid,
            home=home,
            createhome=False,
            shell=_SHELL,
            fullname=_gecos(person),
        )
        _must(added, f"user {name} could not be added")
    elif __salt__["user.info"](name)["fullname"] != _gecos(person):
        renamed = __salt__["user.chfullname"](name, _gecos(person))
        _must(renamed, f"the name of {name} could not be changed")
    if __salt__["user.info"](name)["shell"] != _SHELL:
        _must(__salt__["user.chshell"](name, _SHELL), f"the shell of {name} could not be changed")
    _groups(person, groups)
    _home(Path(HOMES, name), uid)
    for path, text in _name_files(person, uid).items():
        _folder(path.parent, 0o755)
        _write(path, text, 0o644)


def _groups(person: dict, groups: dict[str, str]) -> None:
    """Be in the group of one's role, and in that of no other."""
    name = person["username"]
    for role, group in groups.items():
        member = name in _members(group)
        if role == person["role"] and not member:
            added = __salt__["group.adduser"](group, name)
            _must(added, f"{name} could not be added to the group {group}")
        elif role != person["role"] and member:
            removed = __salt__["group.deluser"](group, name)
            _must(removed, f"{name} could not be taken out of the group {group}")


def _must(done: object, sentence: str) -> None:
    if not done:
        raise CommandExecutionError(f"{sentence}; the minion's log says why")


def _group_exists(name: str) -> bool:
    return bool(__salt__["group.info"](name))


def _home(path: Path, uid: int) -> None:
    """A home of mode 0700, made beside and moved into place, so that nobody sees one with other rights."""
    if path.is_symlink():
        raise CommandExecutionError(f"{path} is a symbolic link; it was left alone")
    if not path.exists():
        fresh = path.with_name(f".new-{path.name}")
        fresh.mkdir(mode=0o700, exist_ok=True)
        os.chown(fresh, uid, uid)
        fresh.rename(path)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(handle, uid, uid)
        os.fchmod(handle, 0o700)
    finally:
        os.close(handle)


def _folder(path: Path, mode: int) -> None:
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    path.chmod(mode)


def _write(path: Path, text: str, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.new")
    with open(fresh, "w", encoding="utf-8") as handle:
        os.fchmod(handle.fileno(), mode)
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(path)
