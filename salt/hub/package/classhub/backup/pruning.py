"""The verb `prune`: what the policy does not keep goes, and a part of what is kept is read again."""

import time
from argparse import _SubParsersAction

from classhub.backup import guard
from classhub.backup.restic import TAG, Restic
from classhub.backup.saving import NO_CLASS, restic_is_free
from classhub.backup.settings import Settings
from classhub.course.report import Refused, Report

PARTS = 8  # a run reads one of them: all is read within eight weeks
WEEK = 7 * 86400


def add_commands(verbs: _SubParsersAction) -> None:
    parser = verbs.add_parser("prune", help="forget old snapshots, and check a part of the data")
    parser.add_argument("--test", action="store_true", help="only say what would be done")
    parser.set_defaults(run=lambda settings, words: prune(settings, test=words.test))


def prune(settings: Settings, test: bool = False) -> Report:
    """Keep what the policy keeps, then check the repository."""
    ident = guard.filesystem(settings)
    if not ident:
        return Report({"repository": NO_CLASS})
    with guard.writing(settings, throwing=not test) as restic:
        restic_is_free(restic)
        before = guard.opened(restic, ident)
        # no grouping: where a directory joins what is saved, the policy is still one
        words = ["forget", "--tag", TAG, "--group-by", ""]
        for kind, number in settings.keep.items():
            words += [f"--keep-{kind}", str(number)]
        if test:
            kept = restic.run(*words, "--dry-run", "--no-lock").stdout
            return Report({"repository": "done: would be pruned"}, {"restic": kept.splitlines()})
        restic.run(*words, "--prune")
        after = restic.snapshots()
        gone = len(before) - len(after)
        table = {
            "snapshots": f"done: {gone} forgotten, {len(after)} kept",
            "data": _checked(restic),
        }
    return Report(table)


def _checked(restic: Restic) -> str:
    part = int(time.time() // WEEK) % PARTS + 1
    try:
        restic.run("check", f"--read-data-subset={part}/{PARTS}")
    except Refused as error:
        return f"failed: the repository is damaged: {error}"
    return f"done: part {part} of {PARTS} was read, and is whole"
