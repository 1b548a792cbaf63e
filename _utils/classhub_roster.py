"""The roster: who is in the class, and which uid each of them has for ever.

`parse` reads the CSV on the master; `assign` gives out uids on the hub. Pure functions.
"""

import csv
import io
import re

COLUMNS = ("username", "name", "email", "role", "section", "uid", "login")
REQUIRED = ("username", "role")
# what exports call our columns. Canvas: Grades, Export; Moodle: Participants, Download table data
_ALIASES = {
    "sis login id": "username",
    "student": "name",
    "full name": "name",
    "email address": "email",
    "roles": "role",
    "groups": "section",
    "first name": "given",
    "last name": "family",
    "surname": "family",
    "github": "login",
    "github login": "login",
    "github username": "login",
}
_OF_AN_EXPORT = {"sis login id", "student", "first name", "email address"}
# what Moodle calls roles, the mightier first: who has more than one has the first of them
_ROLES = {
    "manager": "instructor",
    "teacher": "instructor",
    "non-editing teacher": "grader",
    "student": "student",
}
# lines of Canvas's that are nobody
_NOBODY = re.compile(r"\s*points possible|student, test", re.IGNORECASE)
# what useradd takes and a GitHub login can be; Linux allows 32 characters
_USERNAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")
# GitHub's; other places have addresses and dots
_LOGIN = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
MIN_UID = 2000
MAX_UID = 60000


def parse(
    text: str, roles: tuple[str, ...], by_email: bool = False
) -> tuple[list[dict], list[str]]:
    """The people of a roster, and every fault in it with its line.

    Args:
        text: CSV with a header line, separated by commas, semicolons or tabs. Either classhub's own, whose columns are
            in `COLUMNS`, of which `REQUIRED` must be there; or an export of Canvas's or Moodle's, all of whose other
            columns are passed over. Who has no role in an export is a student.
        roles: the roles that a person may have.
        by_email: in an export without usernames they are made of addresses: ``ada.lind@...`` is ``ada-lind``. With a
            column ``login``, in which everybody must have one then, they are in any case.

    Returns:
        ``(people, faults)``: one mapping a person, in the order of the file, with ``uid`` an int or None.
    """
    header, rows, faults = _table(text.lstrip("\ufeff"))
    columns = [_ALIASES.get(cell, cell) for cell in header]
    export = bool(_OF_AN_EXPORT & set(header))
    by_email = (
        export
        and "username" not in columns
        and "email" in columns
        and (by_email or "login" in columns)
    )
    if by_email:
        columns.append("username")
    faults = faults or _header_faults(header, columns, export)
    if faults:
        return [], faults
    people: list[dict] = []
    seen: dict[tuple[str, object], int] = {}
    for line, row in rows:
        if len(row) > len(header):
            faults.append(f"roster line {line}: {len(row)} fields, the header has {len(header)}")
            continue
        given = dict(zip(columns, (cell.strip() for cell in row), strict=False))
        if export and _NOBODY.match(given.get("name", "")) and not given.get("username"):
            continue
        person = dict.fromkeys(COLUMNS, "") | (_exported(given, by_email) if export else given)
        person = {column: person[column] for column in COLUMNS}
        wrong = _person_faults(person, roles) or _repeated(person, seen, line)
        if by_email and "login" in columns and not person["login"]:
            wrong.append("login is missing, and an address does not say whose account it is")
        faults += [f"roster line {line}: {fault}" for fault in wrong]
        person["uid"] = int(person["uid"]) if _number(person["uid"]) else None
        if not wrong:
            people.append(person)
    if not people and not faults:
        faults = ["roster: nobody is in it"]
    return people, faults


def _table(text: str) -> tuple[list[str], list[tuple[int, list[str]]], list[str]]:
    """The header, the other rows with the lines on which they begin, and what is wrong with the file as such."""
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    line, rows = 1, []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        return [], [], [f"roster line {line}: {error}; is a quote missing, or is this no CSV?"]
    header = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    return header, rows[1:], []


def _header_faults(header: list[str], columns: list[str], export: bool) -> list[str]:
    required = ("username",) if export else REQUIRED
    faults = [f"roster line 1: no column {column}" for column in required if column not in columns]
    known = [column for column in columns if column in (*COLUMNS, "given", "family")]
    faults += [
        f"roster line 1: two columns are the {column}"
        for column in dict.fromkeys(known)
        if known.count(column) > 1
    ]
    if not export:
        faults += [
            f"roster line 1: unknown column {cell!r}"
            for cell in header
            if cell and cell not in COLUMNS
        ]
    return faults


def _exported(given: dict, by_email: bool) -> dict:
    """A person of an export, with the name in its usual order and a role of ours."""
    person = dict(given)
    family, comma, first = given.get("name", "").partition(", ")
    person["name"] = f"{first} {family}" if comma else family
    if "given" in given or "family" in given:
        person["name"] = f"{given.get('given', '')} {given.get('family', '')}".strip()
    if by_email:
        local = given.get("email", "").lower().partition("@")[0]
        person["username"] = re.sub(r"[^a-z0-9]+", "-", local).strip("-")
    named = {part.strip().lower() for part in given.get("role", "").split(",")}
    ours = [role for theirs, role in _ROLES.items() if theirs in named]
    person["role"] = ours[0] if ours else given.get("role") or "student"
    return person


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
        taken: uids and gids of this host's accounts and groups that are not the class's.
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
                faults.append(f"{name}: uid {wanted} belongs to another account or group")
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
