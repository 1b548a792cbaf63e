"""The class's settings, checked on the master and handed to each minion whole.

Runs after the class's own pillar. It lays that over ``salt/defaults.yaml``, reads the roster, and puts every fault it
finds into ``classhub:faults``; while there is one, ``top.sls`` gives a host nothing but the state that reports it.
People's names and addresses go to the hub alone. Nothing that a minion sends along with its question counts.

Master configuration::

    ext_pillar:
      - classhub: {}
"""

from pathlib import Path

import salt.pillar
import yaml

# Salt loads this file in place (module_dirs), so the tree around it is the tree that is served
_TREE = Path(__file__).resolve().parent.parent / "salt"


def ext_pillar(minion_id: str, pillar: dict) -> dict:
    """Settings of one minion under the key ``classhub``: see ``salt/defaults.yaml`` and the pillar reference."""
    defaults = yaml.safe_load((_TREE / "defaults.yaml").read_text(encoding="utf-8"))
    settings, faults = __utils__["classhub_settings.compose"](defaults, _own(minion_id))
    # who may be whom at GitHub is never guessed from an address
    by_email = settings["hub"]["authenticator"] != "github"
    people, roster_faults = _people(settings["roster"], by_email)
    faults += _keep_calendar(settings, people)
    faults += __utils__["classhub_staff.faults"](settings["staff"], people)
    faults += __utils__["classhub_quota.faults"](settings["storage"]["quota"], people)
    mine = __utils__["classhub_settings.for_minion"](settings, minion_id)
    faults += roster_faults + __utils__["classhub_settings.role_faults"](
        mine, minion_id, mine["roles"]
    )
    if "hub" in mine["roles"]:
        mine["people"] = people
    image, base = settings["image"], (settings["image"]["base"], settings["image"]["base_archive"])
    recipe = __utils__["classhub_settings.recipe"]
    ca_bundle = settings["site"]["ca_bundle"]
    mine["image"]["recipe"] = recipe(
        _TREE / "image/files/student", *base, image["stack"], image["packages"], ca_bundle
    )
    mine["proxy"]["recipe"] = recipe(_TREE / "proxy/files/image", *base)
    mine["faults"] = faults
    return {"classhub": mine}


def _own(minion_id: str) -> object:
    """The class's settings for a minion as the master's files have them.

    Salt lays what the minion sends along (`pillar_override`) over the pillar that it hands to this module: a node could
    say there that it is the hub, and would get the hub's secrets.
    """
    opts = {**__opts__, "pillar": {}, "pillarenv": None, "saltenv": None}
    files = salt.pillar.Pillar(opts, opts["grains"], minion_id, None)
    return files.compile_pillar(ext=False).get("classhub")


def _keep_calendar(settings: dict, people: list[dict]) -> list[str]:
    """Make times plain texts, in the calendar and in what is said about idle servers; the faults of both.

    A calendar with faults is none.
    """
    course, plain = settings["course"], __utils__["classhub_calendar.plain"]
    calendar, settings["cull"] = plain(course["assignments"]), plain(settings["cull"])
    usernames = [person["username"] for person in people]
    faults = __utils__["classhub_calendar.faults"](calendar, course["timezone"], usernames)
    course["assignments"] = {} if faults else calendar
    return faults + __utils__["classhub_calendar.cull_faults"](
        settings["cull"], calendar, course["timezone"], people
    )


def _people(roster: dict, by_email: bool) -> tuple[list[dict], list[str]]:
    """The people of the roster's files, and all faults in them. Nobody's username or login is another's in any file."""
    people, faults, files = [], [], {}
    for key in ("file", "staff_file"):
        if not roster[key]:
            continue
        found, wrong = _read(key, roster[key], tuple(roster["groups"]), by_email)
        faults += wrong
        here = {}
        for person in found:
            names = [name for name in (person["username"], person["login"]) if name]
            again = [name for name in names if name in files]
            faults += [
                f"classhub:roster:{key}: {roster[key]}: {name} is in {files[name]} already"
                for name in again[:1]
            ]
            if not again:
                people.append(person)
            here |= dict.fromkeys(names, roster[key])
        files |= here
    return people, faults


def _read(
    key: str, file: str, roles: tuple[str, ...], by_email: bool
) -> tuple[list[dict], list[str]]:
    where = f"classhub:roster:{key}"
    roots = [Path(root) for root in __opts__["pillar_roots"].get("base", [])]
    path = next((root / file for root in roots if (root / file).is_file()), None)
    if not path:
        places = " or ".join(map(str, roots))
        fault = f"{where}: there is no {file} in {places}; a roster is a CSV file"
        return [], [f"{fault} with the columns username,name,email,role,section"]
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return [], [f"{where}: {path} is not UTF-8 text"]
    people, faults = __utils__["classhub_roster.parse"](text, roles, by_email)
    return people, [f"{where}: {path.name}: {fault.removeprefix('roster ')}" for fault in faults]
