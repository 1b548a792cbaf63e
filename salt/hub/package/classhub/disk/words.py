"""Figures and sentences about the disk."""

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
OLD = 600  # seconds after which what was written down of the disk says nothing about now
ROOM = 64 << 20  # bytes that are to be free for the class to go on
DISK_FULL = (
    "The disk with everybody's homes is full: nothing can be saved just now. Delete files that you do not need, and tell "
    "the course staff."
)
OVER = "You have {used} in your home, and your quota is {quota}. "
FULL = "Your home is full: your quota is {quota}, and nothing can be saved. "
BEFORE = "Delete files before {until}: from then on nothing can be saved."
SOON = "Delete files: at {most} nothing can be saved any more."
DELETE = "Delete files that you do not need."


def amount(size: int) -> str:
    """A size for people: 5.0 GiB."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{size} bytes"


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "?"


def notice(state: dict, username: str, now: float) -> str:
    """What a student is told whose server starts; nothing if there is room.

    Args:
        state: as it is written down (classhub/disk/watch.py)
        username: of the student
        now: Unix time
    """
    if now - state["at"] > OLD:
        return ""
    person = state["people"].get(username, {})
    if person.get("over"):
        return _over(person, now)
    return DISK_FULL if state["free"] < min(ROOM, state["size"] // 20) else ""


def _over(person: dict, now: float) -> str:
    by_files = person["files_soft"] and person["files"] > person["files_soft"]
    if by_files:
        used, quota, most = (
            f"{person[key]} files" for key in ("files", "files_soft", "files_hard")
        )
        full = person["files"] >= person["files_hard"]
    else:
        used, quota, most = (amount(person[key]) for key in ("used", "soft", "hard"))
        full = person["used"] >= person["hard"] - 4096
    if full or 0 < person["until"] <= now:
        return FULL.format(quota=quota) + DELETE
    when = BEFORE.format(until=person["until_shown"]) if person["until"] else SOON.format(most=most)
    return OVER.format(used=used, quota=quota) + when
