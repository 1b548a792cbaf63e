"""The course's verbs: `python -m classhub.course <verb>`.

Prints one JSON document: {"table": {username: outcome}, "summary": {...}}, or {"error": sentence}.
Exits 0 if all went well, 1 if anybody failed, 2 if the verb was refused.
"""

import argparse
import importlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from classhub.course import settings
from classhub.course.report import Refused, tell

# Modules with verbs. Each has add_commands(subparsers), which sets `run`: (Settings, Namespace) -> Report.
MODULES = (
    "course.exchange",
    "course.source",
    "course.release",
    "course.welcoming",
    "course.hotfix",
    "course.sealing",
    "course.receipts",
    "course.collecting",
    "grading.autograde",
    "course.feedback",
    "course.grades",
    "course.status",
    "course.calendar",
    "culling.cull",
    "activity.recording",
    "activity.sampling",
    "activity.seed",
    "activity.activity",
    "doctor.proof",
)


def parser(modules: Sequence[str] = MODULES) -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="classhub", description=__doc__)
    result.add_argument("--config", type=Path, default=settings.FILE, help="settings, as JSON")
    verbs = result.add_subparsers(required=True, metavar="verb")
    for name in modules:
        importlib.import_module(f"classhub.{name}").add_commands(verbs)
    return result


def main(words: list[str] | None = None, modules: Sequence[str] = MODULES) -> int:
    """Run one verb of the modules and print its answer; returns the exit code."""
    arguments = parser(modules).parse_args(words)
    try:
        if os.geteuid() != 0:
            raise Refused("only root can do this")
        os.umask(0o022)
        report = arguments.run(settings.load(arguments.config), arguments)
    except (Refused, OSError) as error:
        return refuse(str(error))
    except Exception as error:  # whoever called reads JSON; the log has the rest
        traceback.print_exc()
        return refuse(f"unexpected {type(error).__name__}: {error}")
    print(json.dumps(report.as_dict()))
    return 1 if report.failed else 0


def refuse(sentence: str) -> int:
    """Say why nothing was done, to the caller and to the log; returns the exit code."""
    tell(f"refused: {sentence}")
    print(json.dumps({"error": sentence}))
    return 2


if __name__ == "__main__":
    sys.exit(main())
