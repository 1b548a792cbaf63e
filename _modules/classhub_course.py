"""The course's command line on the hub (salt/hub/package/classhub/course), and what it reads."""

import json
import os
import subprocess
import tempfile

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_course"
PYTHON = "/opt/jupyterhub/bin/python"
PACKAGE = "/opt/jupyterhub/classhub-package/classhub"


def __virtual__():
    return __virtualname__


def settings(course_dir: str, exchange: str, store: str) -> dict:
    """What the course's tools are to know: pillar, and everybody's uid from the hub's ledger.

    Args:
        course_dir: nbgrader's course.
        exchange: directory of nbgrader's exchange.
        store: the sealed submissions.

    Returns:
        the content of ``/etc/classhub/course.json``.

    Raises:
        CommandExecutionError: the roster contradicts the ledger or the host.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_course.settings /var/lib/classhub/course /home/.classhub/exchange /var/lib/classhub/sealed
    """
    # how many leave is judged where they do
    planned = __salt__["classhub_roster.plan"](drops=len(__salt__["classhub_roster.ledger"]()))
    if planned["faults"]:
        raise CommandExecutionError(
            "The course has no settings:\n- " + "\n- ".join(planned["faults"])
        )
    course, people = __pillar__["classhub"]["course"], __pillar__["classhub"]["people"]
    grading, size = __pillar__["classhub"]["grading"], __utils__["classhub_settings.size"]
    cull, hub = __pillar__["classhub"]["cull"], __pillar__["classhub"]["hub"]
    source = {name: course["source"][name] for name in ("directory", "git", "ref", "subdir")}
    return {
        "course_id": course["id"],
        "course_dir": course_dir,
        "exchange": exchange,
        "store": store,
        "timezone": course["timezone"],
        "assignments": course["assignments"],
        "grace": course["grace"],
        "max_files": course["max_files"],
        "max_bytes": size(course["max_size"]),
        "late_penalty": course["late_penalty"],
        "grading": grading | {key: size(grading[key]) for key in ("memory", "disk")},
        "cull": {key: value for key, value in cull.items() if key != "interval"},
        "activity_days": __pillar__["classhub"]["activity"]["keep"],
        "seat": size(__pillar__["classhub"]["server"]["memory_guarantee"]),
        "hub_proxy": f"http://127.0.0.1:{hub['port']}",
        "disk_warn": __pillar__["classhub"]["storage"]["warn"],
        "hub_api": f"http://{__pillar__['classhub']['address']}:{hub['api_port']}/hub/api",
        **{f"source_{name}": value for name, value in source.items()},
        "people": [
            {
                "username": person["username"],
                "uid": planned["ledger"][person["username"]],
            }
            | {key: person[key] for key in ("role", "name", "email", "section")}
            for person in people
        ],
    }


def ready() -> bool:
    """Whether the course's command line is installed.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_course.ready
    """
    return os.access(PYTHON, os.X_OK) and os.path.isdir(PACKAGE)


def call(
    verb: str,
    arguments: list[str] = (),
    options: list[str] = (),
    follow: bool = False,
    data: str = "",
    package: str = "classhub.course",
) -> dict:
    """Run a verb of the course's command line, or of another one that answers alike.

    Args:
        verb: see ``/opt/jupyterhub/bin/python -m classhub.course --help``.
        arguments: its words, such as the assignment.
        options: its options, such as ``--test``.
        follow: fire each line of its progress as an event, ``classhub/progress/<verb>``.
        data: what it reads on its standard input.
        package: whose command line.

    Returns:
        ``table``: username -> ``done: ...``, ``skipped: ...`` or ``failed: ...``, and ``summary``.

    Raises:
        CommandExecutionError: it was refused; one sentence says why.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_course.call status '[ps1]'
    """
    if not ready():
        raise CommandExecutionError(
            f"{PACKAGE} is not there yet; apply the states of the hub first"
        )
    # -I: nothing from the directory or the environment of whoever calls; -B: what the hub runs from is not touched
    command = [PYTHON, "-I", "-B", "-m", package, verb, *options]
    command += ["--", *arguments] if arguments else []
    command = [str(word) for word in command]
    done = (
        _followed(command, f"classhub/progress/{verb}")
        if follow
        else __salt__["cmd.run_all"](
            command, python_shell=False, ignore_retcode=True, **({"stdin": data} if data else {})
        )
    )
    try:
        report = json.loads(done["stdout"])
    except ValueError:
        told = done["stderr"].strip().splitlines() or ["without a word"]
        raise CommandExecutionError(
            f"{verb} ended with code {done['retcode']}: {told[-1]}"
        ) from None
    if "error" in report:
        raise CommandExecutionError(report["error"])
    return report


def _followed(command: list[str], tag: str) -> dict:
    """cmd.run_all, with an event for each line on the standard error."""
    with (
        tempfile.TemporaryFile("w+") as answer,
        subprocess.Popen(command, stdout=answer, stderr=subprocess.PIPE, text=True) as process,
    ):
        line = ""
        for line in process.stderr:
            __salt__["event.send"](tag, {"line": line.rstrip()})
        code = process.wait()
        answer.seek(0)
        return {"stdout": answer.read(), "stderr": line, "retcode": code}


def exchange(test: bool = False) -> dict:
    """Make or repair everybody's part of the exchange.

    Args:
        test: only say what would be done.

    Returns:
        ``table``: username -> outcome, and ``summary``, whose ``course`` lists what was done for all.

    Raises:
        CommandExecutionError: the exchange cannot be made.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_course.exchange test=True
    """
    return call("exchange", options=["--test"] if test else [])


def welcome(test: bool = False) -> dict:
    """Give newcomers what was released before they came.

    Args:
        test: only say what would be done.

    Returns:
        ``table``: username -> outcome.

    Raises:
        CommandExecutionError: the record of newcomers cannot be read.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_course.welcome test=True
    """
    return call("welcome", options=["--test"] if test else [])
