"""The people of the class as system users of the hub."""

import contextlib
import fcntl
import grp
import json
import os
import pwd
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_roster"
LEDGER = "/var/lib/classhub/uids.json"
NAMES = "/home/.nss"
HOMES = "/home"
ARCHIVE = "/home/.archive"  # homes of those who left
# a home is in reach of its student's notebooks, ~/.ssh/authorized_keys included: no way to sign in to the hub itself
_SHELL = "/usr/sbin/nologin"
# and the SSH server denies the groups of all roles and this one, of who ever left: salt/hub/users.sls
LEFT = "classhub-left"


def __virtual__():
    return __virtualname__


class _Host(NamedTuple):
    """The accounts and groups of this host, read once: a lookup by name reads the whole file."""

    accounts: dict[str, pwd.struct_passwd]
    groups: dict[str, grp.struct_group]

    def members(self, group: str) -> set[str]:
        return set(self.groups[group].gr_mem) if group in self.groups else set()


def _host() -> _Host:
    return _Host(
        {entry.pw_name: entry for entry in pwd.getpwall()},
        {entry.gr_name: entry for entry in grp.getgrall()},
    )


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


def plan(drops: int = 0) -> dict:
    """What the hub's accounts lack against the roster, and the ledger with a uid for everybody.

    Args:
        drops: how many people may leave at once; ``roster:drops`` may in any case.

    Returns:
        ``ledger`` (username -> uid), ``people`` (username -> list of what would be done), ``left`` (the same, of those
        who are on the roster no more), ``faults`` (list of texts).

    Raises:
        CommandExecutionError: the ledger cannot be read.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_roster.plan
    """
    settings = __pillar__["classhub"]
    people, roster = settings["people"], settings["roster"]
    known, host, groups = ledger(), _host(), roster["groups"].values()
    taken = _taken(people, known, host)
    # nor a uid whose files are here: without its ledger a class begins anew, and its homes may have outlived it
    homes = _owners() - {person["uid"] for person in people}
    grown, faults = __utils__["classhub_roster.assign"](
        people, known, taken | homes, int(roster["first_uid"])
    )
    todo = {}
    for person in people:
        name = person["username"]
        if name not in grown:
            continue  # that is a fault already
        if clash := _clash(name, grown[name], host, groups, taken):
            faults.append(f"{name}: {clash}")
        else:
            todo[name] = _lacks(person, grown[name], host, roster["groups"])
    present = {person["username"] for person in people}
    left = {name: _remains(name, host, groups) for name in sorted(known.keys() - present)}
    left = {name: remains for name, remains in left.items() if remains}
    if len(left) > max(drops, roster["drops"]):
        faults.append(
            f"{len(left)} people of the class are not on the roster any more: {_some(left)}. If they are to leave: "
            f"salt hub classhub.roster drops={len(left)}"
        )
    # a roster with a fault has fewer people than it should
    faults = list(settings["faults"]) or faults
    return {
        "ledger": grown,
        "people": {name: lacks for name, lacks in todo.items() if lacks},
        "left": left,
        "faults": faults,
    }


def _taken(people: list[dict], known: dict[str, int], host: _Host) -> set[int]:
    """Numbers that this host has given away: a person's is that of the person's own group as well."""
    # an account of this host whose uid the roster gives to its own name becomes one of the class
    own = known.items() | {(person["username"], person["uid"]) for person in people}
    given = {(name, entry.pw_uid) for name, entry in host.accounts.items()}
    given |= {(name, entry.gr_gid) for name, entry in host.groups.items()}
    return {number for _, number in given - own}


def _clash(name: str, uid: int, host: _Host, groups: Iterable[str], taken: set[int]) -> str:
    """Why this host cannot have the person under that name and number; empty if it can."""
    account, group = host.accounts.get(name), host.groups.get(name)
    if name in (*groups, LEFT):
        return "is a group of the class. Give the person another username"
    if account and account.pw_uid != uid:
        return (
            f"is an account of this host already (uid {account.pw_uid}); the class would give it "
            f"uid {uid}. Take the account away or give the roster its uid"
        )
    if uid in taken:
        return f"has the uid {uid}, which is another account's or group's of this host. Give that another number"
    # an account with the name of a group would be made a member of it
    if group and group.gr_gid != uid:
        return (
            f"is a group of this host already (gid {group.gr_gid}); the class would give it gid {uid}. "
            f"Give the person another username, or, if the group is that person's alone: groupmod --gid {uid} {name}"
        )
    for home in (Path(HOMES, name), Path(ARCHIVE, name)):
        owner = _owner(home)
        if owner not in (None, 0, uid):
            return (
                f"{home} belongs to the uid {owner}, and the class would give it to the uid {uid}. "
                f"Restore {LEDGER} from the backup, or give the roster the uid {owner}"
            )
    return ""


def _owners() -> set[int | None]:
    """The uids to which homes belong, those of who left as well."""
    folders = [Path(folder) for folder in (HOMES, ARCHIVE) if Path(folder).is_dir()]
    return {_owner(home) for folder in folders for home in folder.iterdir()}


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except FileNotFoundError:
        return None


def _some(names: dict) -> str:
    first = list(names)[:5]
    return ", ".join(first) + (", ..." if len(names) > len(first) else "")


def _lacks(person: dict, uid: int, host: _Host, groups: dict[str, str]) -> list[str]:
    name, lacks = person["username"], []
    account = host.accounts.get(name)
    if account is None:
        lacks.append("account")
    else:
        lacks += ["name"] * (_name(account) != _gecos(person))
        lacks += ["shell"] * (account.pw_shell != _SHELL)
        lacks += ["primary group"] * (account.pw_gid != uid)
    if name not in host.members(groups[person["role"]]):
        lacks.append(f"group {groups[person['role']]}")
    if _other_groups(person, host, groups):
        lacks.append("other groups left")
    home = Path(HOMES, name)
    if not home.is_dir() or home.is_symlink():
        lacks.append("home back from the archive" if Path(ARCHIVE, name).is_dir() else "home")
    else:
        status = home.stat()
        if (status.st_uid, status.st_gid, status.st_mode & 0o7777) != (uid, uid, 0o700):
            lacks.append("home rights")
    if any(_read(path) != text for path, text in _name_files(person, uid).items()):
        lacks.append("name files")
    return lacks


def _remains(name: str, host: _Host, groups: list[str]) -> list[str]:
    """What is still to be done for somebody who left."""
    remains = ["locked"] if any(name in host.members(group) for group in groups) else []
    return remains + ["home archived"] * os.path.lexists(Path(HOMES, name))


def _other_groups(person: dict, host: _Host, groups: dict[str, str]) -> list[str]:
    """Groups of other roles that somebody is in."""
    return [
        group
        for role, group in groups.items()
        if role != person["role"] and person["username"] in host.members(group)
    ]


def _gecos(person: dict) -> str:
    return person["name"].replace(",", " ")


def _name(account: pwd.struct_passwd) -> str:
    """Without room and telephones, for which adduser(8) leaves commas."""
    return account.pw_gecos.partition(",")[0]


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


def apply(drops: int = 0) -> dict:
    """Bring the hub's accounts in line with the roster. Nothing is deleted: who left is locked, the home archived.

    Args:
        drops: how many people may leave at once; ``roster:drops`` may in any case.

    Returns:
        username -> ``done: what`` or ``failed: why``, for everybody for whom there was something to do.

    Raises:
        CommandExecutionError: the roster contradicts the ledger or the host, or too many would leave; nothing was done.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_roster.apply
    """
    with _lock():
        planned = plan(drops)
        if planned["faults"]:
            raise CommandExecutionError(
                "The roster was not applied:\n- " + "\n- ".join(planned["faults"])
            )
        settings = __pillar__["classhub"]
        groups, uids = settings["roster"]["groups"], planned["ledger"]
        # first the ledger: a uid is taken from the moment that an account might have it
        if uids != ledger():
            text = json.dumps(uids, indent=1, sort_keys=True) + "\n"
            _write(Path(LEDGER), text, 0o600, lasting=True)
        for folder, mode in ((NAMES, 0o711), (ARCHIVE, 0o700)):
            _folder(Path(folder), mode)
        people = [p for p in settings["people"] if p["username"] in planned["people"]]
        _add(people, uids, groups)
        host = _host()
        table = {
            person["username"]: _outcome(
                planned["people"][person["username"]],
                lambda person=person: _settle(person, uids[person["username"]], host, groups),
            )
            for person in people
        }
        for name, remains in planned["left"].items():
            table[name] = _outcome(remains, lambda name=name: _leave(name, host, groups.values()))
        return table


def _outcome(what: list[str], act) -> str:
    try:
        act()
    except (CommandExecutionError, OSError) as error:
        return f"failed: {error}"
    return f"done: {', '.join(what)}"


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """One reconciliation at a time: two would give one uid to two people."""
    _folder(Path(LEDGER).parent, 0o755)
    with open(Path(LEDGER).with_suffix(".lock"), "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _add(people: list[dict], uids: dict[str, int], groups: dict[str, str]) -> None:
    """Accounts and memberships that are missing, all of them by one run of systemd-sysusers: a process for each would
    take minutes for a large class. See sysusers.d(5)."""
    host = _host()
    lines = [f"g {group} - -" for group in (*groups.values(), LEFT) if group not in host.groups]
    for person in people:
        name, group = person["username"], groups[person["role"]]
        uid = uids[name]
        if name not in host.groups:
            lines.append(f"g {name} {uid} -")
        if name not in host.accounts:
            lines.append(f"u {name} {uid}:{uid} {_quoted(_gecos(person))} {HOMES}/{name} {_SHELL}")
        if name not in host.members(group):
            lines.append(f"m {name} {group}")
    if not lines:
        return
    # what it could not do is found by looking, person by person
    __salt__["cmd.run_all"](
        ["systemd-sysusers", "-"],
        stdin="\n".join(lines) + "\n",
        python_shell=False,
        ignore_retcode=True,
    )


def _quoted(text: str) -> str:
    """A field of sysusers.d(5): quoted, and no specifiers in it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def _settle(person: dict, uid: int, host: _Host, groups: dict[str, str]) -> None:
    name, group = person["username"], groups[person["role"]]
    account = host.accounts.get(name)
    _must(account and name in host.groups, f"user {name} could not be added")
    _must(account.pw_uid == uid, f"user {name} did not get the uid {uid}")
    _must(host.groups[name].gr_gid == uid, f"group {name} did not get the gid {uid}")
    _must(name in host.members(group), f"{name} could not be added to the group {group}")
    if _name(account) != _gecos(person):
        renamed = __salt__["user.chfullname"](name, _gecos(person))
        _must(renamed, f"the name of {name} could not be changed")
    if account.pw_shell != _SHELL:
        _must(__salt__["user.chshell"](name, _SHELL), f"the shell of {name} could not be changed")
    _out_of(name, _other_groups(person, host, groups))
    _home(Path(HOMES, name), uid)
    for path, text in _name_files(person, uid).items():
        _folder(path.parent, 0o755)
        _write(path, text, 0o644)
    if account.pw_gid != uid:
        raise CommandExecutionError(
            f"the primary group of {name} has the gid {account.pw_gid}, not {uid}: usermod --gid {uid} {name}"
        )


def _leave(name: str, host: _Host, groups: list[str]) -> None:
    """No sign-in and no server from now on; the home is kept where nobody reaches it.

    The order matters: who is in no group of a role can start no server, and a server that still ends writes to the home
    even while that is moved. Until it is, SSH would find keys there.
    """
    _must(__salt__["group.adduser"](LEFT, name), f"{name} could not be added to the group {LEFT}")
    _out_of(name, [group for group in groups if name in host.members(group)])
    __salt__["classhub_swarm.stop"](name)
    home = Path(HOMES, name)
    if home.is_symlink() or (home.exists() and not home.is_dir()):
        raise CommandExecutionError(f"{home} is no directory; it was left alone")
    if home.exists():
        place = Path(ARCHIVE, name)
        if place.exists():
            place = place.with_name(time.strftime(f"{name}.%Y%m%dT%H%M%SZ", time.gmtime()))
        home.rename(place)
        with _opened(place) as handle:
            os.fchmod(handle, 0o500)


def _out_of(name: str, groups: list[str]) -> None:
    for group in groups:
        removed = __salt__["group.deluser"](group, name)
        _must(removed, f"{name} could not be taken out of the group {group}")


def _must(done: object, sentence: str) -> None:
    if not done:
        raise CommandExecutionError(f"{sentence}; the minion's log says why")


def _home(path: Path, uid: int) -> None:
    """A home of mode 0700: that of the archive, or one made beside and moved into place, so that nobody sees one with
    other rights."""
    if path.is_symlink():
        raise CommandExecutionError(f"{path} is a symbolic link; it was left alone")
    kept = Path(ARCHIVE, path.name)
    if not path.exists() and kept.is_dir():
        kept.rename(path)
    elif not path.exists():
        fresh = path.with_name(f".new-{path.name}")
        fresh.mkdir(mode=0o700, exist_ok=True)
        os.chown(fresh, uid, uid)
        fresh.rename(path)
    with _opened(path) as handle:
        os.fchown(handle, uid, uid)
        os.fchmod(handle, 0o700)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield handle
    finally:
        os.close(handle)


def _folder(path: Path, mode: int) -> None:
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    path.chmod(mode)


def _write(path: Path, text: str, mode: int, lasting: bool = False) -> None:
    """Replace a file at once; one that is not `lasting` can be made again, and does not wait for the disk."""
    fresh = path.with_name(f".{path.name}.new")
    with open(fresh, "w", encoding="utf-8") as handle:
        os.fchmod(handle.fileno(), mode)
        handle.write(text)
        if lasting:
            handle.flush()
            os.fsync(handle.fileno())
    fresh.replace(path)
    if lasting:
        with _opened(path.parent) as folder:
            os.fsync(folder)
