"""The roster: who is in the class, and which uid each of them has for ever.

`parse` reads the CSV on the master; `assign` gives out uids on the hub. Pure functions.
"""

import csv
import io
import re

COLUMNS = ("username", "name", "email", "role", "section", "uid", "login")
REQUIRED = ("username", "role")
# what useradd takes and a GitHub login can be; Linux allows 32 characters
_USERNAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")
# GitHub's; other places have addresses and dots
_LOGIN = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
MIN_UID = 2000
MAX_UID = 60000


def parse(text: str, roles: tuple[str, ...]) -> tuple[list[dict], list[str]]:
    """The people of a roster, and every fault in it with its line.

    Args:
        text: CSV with a header line; the columns are in `COLUMNS`, of which `REQUIRED` must be there.
        roles: the roles that a person may have.

    Returns:
        ``(people, faults)``: one mapping a person, in the order of the file, with ``uid`` an int or None.
    """
    rows = csv.reader(io.StringIO(text.lstrip("\ufeff")), skipinitialspace=True)
    header = [cell.strip().lower() for cell in next(rows, [])]
    faults = [f"roster line 1: no column {column}" for column in REQUIRED if column not in header]
    faults += [
        f"roster line 1: unknown column {cell!r}" for cell in header if cell and cell not in COLUMNS
    ]
    if faults:
        return [], faults
    people: list[dict] = []
    seen: dict[tuple[str, object], int] = {}
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        line = rows.line_num
        if len(row) > len(header):
            faults.append(f"roster line {line}: {len(row)} fields, the header has {len(header)}")
            continue
        person = dict.fromkeys(COLUMNS, "")
        person.update(zip(header, (cell.strip() for cell in row), strict=False))
        wrong = _person_faults(person, roles) or _repeated(person, seen, line)
        faults += [f"roster line {line}: {fault}" for fault in wrong]
        person["uid"] = int(person["uid"]) if _number(person["uid"]) else None
        if not wrong:
            people.append(person)
    if not people and not faults:
        faults = ["roster: nobody is in it"]
    return people, faults


def _person_faults(person: dict, roles: tuple[str, ...]) -> list[str]:
    faults = []
    person["username"] = person["username"].lower()
    if not _USERNAME.fullmatch(person["username"]):
        faults.append(
            f"username {person['username']!r} is not a letter followed by up to 31 letters, digits and -, the last of them no -"
        )
    person["login"] = person["login"].lower()
    if person["login"] and not _LOGIN.fullmatch(person["login"]):
        faults.append(
            f"login {person['login']!r} is not a name of an account at GitHub or elsewhere"
        )
    if person["role"] not in roles:
        faults.append(f"unknown role {person['role']!r}; the roles are {', '.join(roles)}")
    if person["email"] and not _EMAIL.fullmatch(person["email"]):
        faults.append(f"{person['email']!r} is not an email address")
    if person["uid"] and not (_number(person["uid"]) and MIN_UID <= int(person["uid"]) <= MAX_UID):
        faults.append(f"uid {person['uid']!r} is not a number from {MIN_UID} to {MAX_UID}")
    if any(ord(char) < 32 or char == ":" for char in person["name"]):
        faults.append("name has a colon or a control character")
    return faults


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _repeated(person: dict, seen: dict, line: int) -> list[str]:
    faults = []
    for column in ("username", "uid"):
        value = person[column].lstrip("0")
        if value:
            first = seen.setdefault((column, value), line)
            if first != line:
                faults.append(f"{column} {person[column]} is on line {first} already")
    for name in sorted({person["username"], person["login"]} - {""}):
        first = seen.setdefault(("login", name), line)
        if first != line and not faults:
            faults.append(f"login {name} is that of the person on line {first}")
    return faults


def assign(
    people: list[dict], ledger: dict[str, int], taken: set[int], first_uid: int
) -> tuple[dict, list[str]]:
    """The ledger with a uid for everybody on the roster; nobody's entry ever changes or goes.

    Args:
        people: from `parse`.
        ledger: username -> uid of everybody who was ever in the class.
        taken: uids of this host's accounts that are not in the ledger.
        first_uid: new uids are given upwards from here.

    Returns:
        ``(ledger, faults)``: a fault names a person whose roster uid contradicts the ledger or another account.
    """
    grown, faults = dict(ledger), []
    for person in people:
        name, wanted = person["username"], person["uid"]
        if name in grown:
            if wanted and wanted != grown[name]:
                faults.append(
                    f"{name}: the roster says uid {wanted}, but it has been {grown[name]} from the start"
                )
        elif wanted:
            if wanted in taken or wanted in grown.values():
                faults.append(f"{name}: uid {wanted} belongs to another account")
            else:
                grown[name] = wanted
    used = taken | set(grown.values()) | {person["uid"] for person in people if person["uid"]}
    # above every uid ever given, so that the uid of somebody who left is not found again by scanning
    number = max([first_uid - 1, *(uid for uid in grown.values() if uid >= first_uid)]) + 1
    for person in people:
        if person["username"] not in grown and not person["uid"]:
            while number in used:
                number += 1
            grown[person["username"]] = number
            used.add(number)
    return grown, faults
