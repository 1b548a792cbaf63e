"""The verbs `disk` and `watch`: how full the disk with the homes is, and who uses how much of it.

`watch` runs once a minute as root. It writes down what the hub, which sees no homes, tells students whose servers start,
and puts warnings into the journal: when they begin, and once an hour from then on. What is written down:

    at                  Unix time
    size, used, free    bytes of the filesystem; free is what students can use
    files, files_free   how many it can have, and how many more
    people              username -> used, soft, hard (bytes), files, files_soft, files_hard, over, until, until_shown;
                        of those who have a quota
    no_quotas           why there are none
    told                what was warned of -> when
"""

import json
import os
import pwd
import time
from argparse import Namespace
from datetime import datetime

from classhub.course.report import Report, tell
from classhub.course.settings import Settings
from classhub.disk import quota
from classhub.disk.quota import NoQuotas, Usage
from classhub.disk.words import amount, share

HOUR = 3600
LARGEST = 10  # of those who use most


def measured(settings: Settings) -> dict:
    """The filesystem as such."""
    found = os.statvfs(settings.homes)
    return {
        "size": found.f_blocks * found.f_frsize,
        "used": (found.f_blocks - found.f_bfree) * found.f_frsize,
        "free": found.f_bavail * found.f_frsize,
        "files": found.f_files,
        "files_free": found.f_favail,
    }


def usage(settings: Settings) -> tuple[dict[int, Usage], str]:
    """uid -> usage, as the quotas know it; or why they do not."""
    try:
        return quota.read(settings.homes), ""
    except NoQuotas as error:
        return {}, str(error)


def people(settings: Settings, found: dict[int, Usage]) -> dict[str, dict]:
    """Everybody of the roster who has a quota."""
    return {
        person.username: _person(settings, found[person.uid])
        for person in settings.people
        if person.uid in found and any(found[person.uid].limits)
    }


def _person(settings: Settings, one: Usage) -> dict:
    until = datetime.fromtimestamp(one.until, settings.zone)
    return {
        "used": one.kib * 1024,
        "soft": one.limits.soft * 1024,
        "hard": one.limits.hard * 1024,
        "files": one.files,
        "files_soft": one.limits.files_soft,
        "files_hard": one.limits.files_hard,
        "over": one.is_over,
        "until": one.until,
        "until_shown": f"{until:%Y-%m-%d %H:%M}" if one.until else "",
    }


def warnings(settings: Settings, state: dict) -> dict[str, str]:
    """What the operator should know: room or files -> a sentence."""
    found, most = {}, settings.disk_warn or 2
    full = state["used"] / ((state["used"] + state["free"]) or 1)
    if full >= most:
        found["room"] = (
            f"{settings.homes} is full to {100 * full:.0f} %: {amount(state['free'])} of {amount(state['size'])} are "
            "free. classhub.disk tells who uses most"
        )
    if state["files"] and 1 - state["files_free"] / state["files"] >= most:
        found["files"] = (
            f"{settings.homes} takes no more than {state['files_free']} new files. classhub.disk tells who has most"
        )
    return found


def watch(settings: Settings, arguments: Namespace) -> Report:
    """Write down how the disk is, and warn."""
    now = int(time.time())
    found, why = usage(settings)
    state = {"at": now, **measured(settings), "people": people(settings, found), "no_quotas": why}
    before, told = _told(settings), {}
    for about, text in warnings(settings, state).items():
        told[about] = before.get(about, 0)
        if now - told[about] >= HOUR:
            tell(f"warning: {text}")
            told[about] = now
    write_state(settings, state | {"told": told})
    return Report()


def _told(settings: Settings) -> dict[str, int]:
    try:
        return json.loads(settings.disk_state.read_text(encoding="utf-8"))["told"]
    except (OSError, ValueError, KeyError):
        return {}


def write_state(settings: Settings, state: dict) -> None:
    """In memory, for the group that the unit gives it to."""
    new = settings.disk_state.with_suffix(".new")
    new.write_text(json.dumps(state), encoding="utf-8")
    new.chmod(0o640)
    os.replace(new, settings.disk_state)


def disk(settings: Settings, arguments: Namespace) -> Report:
    """How the disk is, for the operator."""
    state = measured(settings)
    found, why = usage(settings)
    limited = people(settings, found)
    summary = {
        "size": amount(state["size"]),
        "used": f"{amount(state['used'])}, {share(state['used'], state['used'] + state['free'])}",
        "free": amount(state["free"]),
        "files": f"{state['files'] - state['files_free']} of {state['files']}",
        "quotas": f"none: {why}" if why else f"{len(limited)} people have one",
        "over": {name: _shown(one) for name, one in sorted(limited.items()) if one["over"]},
        "largest": _largest(settings, found),
        "warnings": [*warnings(settings, state).values()] + _shared(settings, bool(limited)),
    }
    return Report({}, summary)


def _shown(one: dict) -> str:
    files = f", {one['files']} of {one['files_soft']} files" if one["files_soft"] else ""
    until = f", until {one['until_shown']}" if one["until"] else ""
    return f"{amount(one['used'])} of {amount(one['soft'])}{files}{until}"


def _largest(settings: Settings, found: dict[int, Usage]) -> dict[str, str]:
    names = {person.uid: person.username for person in settings.people}
    most = sorted(found.items(), key=lambda item: (-item[1].kib, item[0]))[:LARGEST]
    return {
        names.get(uid) or _account(uid): f"{amount(one.kib * 1024)}, {one.files} files"
        for uid, one in most
    }


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _shared(settings: Settings, limited: bool) -> list[str]:
    """Whether students can stop the hub by filling up their homes."""
    if limited or settings.homes.stat().st_dev != settings.store.stat().st_dev:
        return []
    both = f"{settings.homes} and {settings.store} share a filesystem, and nobody has a quota"
    return [f"{both}: students who fill it up stop the hub. {quota.HOWTO}"]


def add_commands(subparsers) -> None:
    """Add the verbs to the command line."""
    parser = subparsers.add_parser("disk", help="tell how full the disk with the homes is")
    parser.set_defaults(run=disk)
    parser = subparsers.add_parser("watch", help="write down how full it is, and warn")
    parser.set_defaults(run=watch)
