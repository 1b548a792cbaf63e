"""The verbs `receipt` and `verify`: what a student can show, and whether the store still says the same.

A receipt lies in the student's home, ~/.classhub/receipts/<assignment>/<seal>.json: the seal's line
of the ledger and the sha256 of each file. Changing one proves nothing: the ledger counts.
"""

import json
from collections import Counter, defaultdict

from classhub.course.homes import Home
from classhub.course.report import Refused, Report, Unfit
from classhub.course.settings import Settings
from classhub.course.store import LEDGER, MANIFEST, Store


def receipt(store: Store, line: dict) -> dict:
    """The receipt of a seal: its ledger line, and {path: {size, sha256}} as `contents`."""
    manifest = json.loads((store.place(line) / MANIFEST).read_bytes())
    return line | {"course": manifest["course"], "contents": manifest["files"]}


def deliver(settings: Settings, store: Store, report: Report) -> None:
    """Write the receipts that are due; those that cannot be written stay due.

    The caller holds the store. What a home does not take is told as `receipts_owed` in the summary.
    """
    due = {path.name for path in store.due.iterdir()}
    lines = defaultdict(list)
    for line in store.ledger.lines if due else ():
        if line["seal"] in due and line["user"] in settings.by_name:
            lines[line["user"]].append(line)
    report.summary["receipts_owed"] = owed = {}
    for user, found in lines.items():
        try:
            _deliver_to(settings, store, user, found)
        except (Unfit, OSError, ValueError) as error:
            owed[user] = str(error)


def _deliver_to(settings: Settings, store: Store, user: str, lines: list[dict]) -> None:
    # Read as root first: within the home the process has the student's rights alone.
    papers = [(line, json.dumps(receipt(store, line), indent=1).encode()) for line in lines]
    with Home(settings.by_name[user], settings.homes) as home:
        for line, data in papers:
            home.write_file(("receipts", line["assignment"]), f"{line['seal']}.json", data)
    for line in lines:
        (store.due / line["seal"]).unlink()


def show(settings: Settings, user: str, assignment: str | None = None) -> Report:
    """The receipts of one person, each compared with what is in the store.

    Raises:
        Refused: nobody of this name was ever in the class.
    """
    store = Store(settings.store)
    lines = store.ledger.of(user, assignment)
    if not lines and user not in settings.by_name:
        raise Refused(f"not in the roster: {user}")
    papers, faults = [], []
    for line in lines:
        place = store.place(line)
        found = [f"{store.name(place)}: {fault}" for fault in store.check(place, line)]
        papers.append(line if found else receipt(store, line))
        faults += found
    outcome = f"failed: {'; '.join(faults)}" if faults else f"done: {len(papers)} sealed"
    return Report({user: outcome}, {"receipts": papers, "ledger": store.ledger.faults})


def verify(settings: Settings) -> Report:
    """Compare every byte of the store with its manifests, and these with the ledger."""
    store, faults = Store(settings.store), defaultdict(list)
    for user, fault in store.verify():
        faults[user].append(fault)
    counts = Counter(line["user"] for line in store.ledger.lines)
    table = {user: f"done: {count} sealed" for user, count in sorted(counts.items())}
    table |= {user: f"failed: {'; '.join(found)}" for user, found in faults.items()}
    lines = store.ledger.lines
    head = lines[-1]["digest"] if lines else ""
    return Report(table, {"seals": len(lines), "head": head, "ledger": faults.get(LEDGER, [])})


def add_commands(subparsers) -> None:
    """Add the verbs to the command line."""
    parser = subparsers.add_parser("receipt", help="what one person submitted, and when")
    parser.add_argument("user")
    parser.add_argument("assignment", nargs="?")
    parser.set_defaults(run=lambda settings, args: show(settings, args.user, args.assignment))
    parser = subparsers.add_parser("verify", help="find any damage to the store or its ledger")
    parser.set_defaults(run=lambda settings, args: verify(settings))
