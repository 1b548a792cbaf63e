"""The verb `cull`: servers that nobody uses are stopped, and none in which something runs."""

import asyncio
from argparse import Namespace

from classhub.course.report import Report
from classhub.course.settings import Settings


def cull(settings: Settings, arguments: Namespace) -> Report:
    """Stop the servers that nobody uses; the table is by server."""
    from classhub.culling.run import Cull  # other verbs need not spend the time on what it imports

    run = Cull(settings, arguments.test)
    if arguments.test:
        return asyncio.run(run.run())
    with run.record.alone():
        return asyncio.run(run.run())


def add_commands(subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("cull", help="stop the servers that nobody uses")
    parser.add_argument("--test", action="store_true", help="only say what would be done")
    parser.set_defaults(run=cull)
