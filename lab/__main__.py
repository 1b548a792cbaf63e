"""Command line of the lab: `python -m lab COMMAND`; `make help` names the usual ways in."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable

from lab import engine, hosts, images, master, states
from lab.common import STATE, LabError, say
from lab.phases import Phases

KIND = STATE / "hosts"


def chosen_kind(asked: str | None) -> str:
    """Which class the lab holds: the one that is up, or the one asked for."""
    held = KIND.read_text().strip() if KIND.exists() else None
    if asked and held and asked != held:
        raise LabError(f"the lab holds the class '{held}'; first `make down`, then HOSTS={asked}")
    return asked or held or "full"


def chosen_hosts(options: argparse.Namespace) -> list[hosts.Host]:
    """The hosts named on the command line, or all."""
    listed = hosts.read(chosen_kind(options.hosts))
    return hosts.find(listed, options.host) if options.host else listed


def need_lab() -> None:
    """Refuse to go on where no lab is up."""
    if not KIND.exists() or not engine.answers():
        raise LabError("no lab is up; `make up` makes one")


def prepare(phases: Phases, kind: str) -> None:
    """Engine, images, network and master: what hosts need."""
    STATE.mkdir(exist_ok=True)
    KIND.write_text(f"{kind}\n")
    with phases.phase("engine"):
        engine.start()
    with phases.phase("base image"):
        images.make_base()
    with phases.phase("host image"):
        images.host_image()
    with phases.phase("network and master"):
        hosts.make_network()
        master.start(kind)


def bring_up(phases: Phases, kind: str, wanted: list[hosts.Host]) -> None:
    """Containers with systemd, Salt connected, no state applied."""
    with phases.phase("containers"):
        hosts.create(wanted, kind)
    with phases.phase("bootstrap and keys"):
        hosts.connect(wanted)


def in_phases(options: argparse.Namespace, work: Callable[[Phases, str], None]) -> None:
    """Do phased work and report the phases, also those of a failure."""
    kind = chosen_kind(options.hosts)
    phases = Phases(options.command, kind)
    succeeded = False
    try:
        work(phases, kind)
        succeeded = True
    finally:
        if STATE.exists():
            phases.report(succeeded)


def command_hosts(options: argparse.Namespace) -> None:
    """Bring the hosts up with Salt connected, and apply nothing."""

    def work(phases: Phases, kind: str) -> None:
        prepare(phases, kind)
        bring_up(phases, kind, chosen_hosts(options))

    in_phases(options, work)


def command_up(options: argparse.Namespace) -> None:
    """Bring the class up: hosts, then the states."""

    def work(phases: Phases, kind: str) -> None:
        prepare(phases, kind)
        bring_up(phases, kind, chosen_hosts(options))
        with phases.phase("states"):
            states.apply([host.id for host in chosen_hosts(options)])

    in_phases(options, work)
    command_status(options)


def command_apply(options: argparse.Namespace) -> None:
    """Apply the states to hosts that are up."""
    need_lab()

    def work(phases: Phases, _kind: str) -> None:
        with phases.phase("states"):
            states.apply([host.id for host in chosen_hosts(options)])

    in_phases(options, work)


def command_recreate(options: argparse.Namespace) -> None:
    """Make hosts anew: bare again, with a new key, no state applied."""
    need_lab()

    def work(phases: Phases, kind: str) -> None:
        with phases.phase("removal"):
            hosts.remove(chosen_hosts(options))
        prepare(phases, kind)
        bring_up(phases, kind, chosen_hosts(options))

    in_phases(options, work)


def command_status(options: argparse.Namespace) -> None:
    """Show each host's state."""
    need_lab()
    rows = hosts.status(chosen_hosts(options))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def command_shell(options: argparse.Namespace) -> None:
    """Open a shell on a host."""
    need_lab()
    host = chosen_hosts(options)[0]
    os.execvp("docker", ["docker", "exec", "-it", host.container, "bash", "-l"])  # noqa: S606, S607


def command_down(_options: argparse.Namespace) -> None:
    """Remove the lab; .cache and the images in it stay."""
    if engine.answers():
        hosts.remove_all()
    master.stop()
    engine.stop()
    shutil.rmtree(STATE, ignore_errors=True)
    say("down")


COMMANDS = {
    name.removeprefix("command_"): function
    for name, function in list(globals().items())
    if name.startswith("command_")
}


def main() -> int:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__)
        several = "+" if name in ("shell", "recreate") else "*"
        command.add_argument(
            "host", nargs=several, help="a host's id; all hosts when none is named"
        )
        command.add_argument(
            "--hosts",
            choices=sorted(master.EXAMPLES),
            default=os.environ.get("HOSTS") or None,
            help="which class: full (proxy, hub, two nodes) or one (all on one host)",
        )
    options = parser.parse_args()
    try:
        COMMANDS[options.command](options)
    except LabError as problem:
        print(f"lab: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
