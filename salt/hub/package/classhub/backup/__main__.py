"""The verbs of the backup: `python -m classhub.backup <verb>`.

Prints one JSON document: {"table": {what: outcome}, "summary": {...}}, or {"error": sentence}.
Exits 0 if all went well, 1 if anything failed, 2 if the verb was refused.
"""

import argparse
import importlib
import json
import os
import sys
import traceback
from pathlib import Path

from classhub.backup import record, settings
from classhub.course.report import Refused, Report, tell

# Modules with verbs. Each has add_commands(subparsers), which sets `run`: (Settings, Namespace) -> Report.
MODULES = ("saving", "pruning", "drilling", "snapshots", "restoring", "recovering")
# what runs by itself, and must be seen when it does not
RECORDED = ("backup", "prune", "drill")


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="classhub.backup", description=__doc__)
    result.add_argument("--config", type=Path, default=settings.FILE, help="settings, as JSON")
    verbs = result.add_subparsers(required=True, metavar="verb", dest="verb")
    for name in MODULES:
        importlib.import_module(f"classhub.backup.{name}").add_commands(verbs)
    return result


def main(words: list[str] | None = None) -> int:
    """Run one verb and print its answer; returns the exit code."""
    arguments = parser().parse_args(words)
    known = None
    try:
        if os.geteuid() != 0:
            raise Refused("only root can do this")
        os.umask(0o077)
        known = settings.load(arguments.config)
        remember(known, arguments)
        report = arguments.run(known, arguments)
    except (Refused, OSError) as error:
        return refuse(known, arguments, str(error))
    except Exception as error:  # whoever called reads JSON; the log has the rest
        traceback.print_exc()
        return refuse(known, arguments, f"unexpected {type(error).__name__}: {error}")
    for what, outcome in report.table.items():
        tell(f"{arguments.verb}: {what}: {outcome}")
    remember(known, arguments, report)
    print(json.dumps(report.as_dict()))
    return 1 if report.failed else 0


def remember(
    known: settings.Settings | None,
    arguments: argparse.Namespace,
    outcome: Report | str | None = None,
) -> None:
    """Note how a verb that runs by itself ended; without an outcome, that it began.

    That this cannot be written must not hide what is to be told.
    """
    if not known or arguments.verb not in RECORDED or arguments.test:
        return
    try:
        if outcome is None:
            record.begin(known, arguments.verb)
        else:
            record.note(known, arguments.verb, outcome)
    except OSError as error:
        tell(f"{arguments.verb}: the record cannot be written: {error}")


def refuse(known: settings.Settings | None, arguments: argparse.Namespace, sentence: str) -> int:
    """Say why nothing was done, to the caller, to the log and to the record; returns the exit code."""
    tell(f"{arguments.verb}: refused: {sentence}")
    remember(known, arguments, sentence)
    print(json.dumps({"error": sentence}))
    return 2


if __name__ == "__main__":
    sys.exit(main())
