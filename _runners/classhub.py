"""What the operator of the whole class says: ``salt-run classhub.<verb>``."""

import contextlib
import fcntl
import functools
import inspect
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import salt.client
import salt.utils.event
import salt.version
from salt.exceptions import CommandExecutionError, NotImplemented

log = logging.getLogger(__name__)
_HUB, _NODE = "classhub:roles:hub", "classhub:roles:node"
_PATIENCE = (
    60  # seconds for a busy hub to say that a job still runs; the job itself may take longer
)
_SILENT = (
    "Nothing was changed: {hosts} does not answer. Bring it up and accept its key, or take it out of pillar and delete "
    "its key (salt-key -d)"
)
_BYPASSED = (
    "Nothing was changed: the master's configuration has what Salt's rights do not protect. Take it out and restart "
    "salt-master; staff get rights by classhub.staff_token.\n- {options}"
)
# what the master does by itself, each minute and at each event
_UNRECORDED = ("keep_schedule", "pull_activity")
_BACK = 120  # seconds for a node to come back to the Swarm after its engine was restarted
_PULLED = 2000  # events of a node that are brought to the hub at once
_TURNS = 20  # looks at what waits on the nodes, in one run at most
_LOOKS = 60  # seconds between two looks of the master's schedule at what is due (config/master.d/classhub.conf)


class Refusal(CommandExecutionError, NotImplemented):
    """A sentence for the operator. Of NotImplemented because Salt prints the traceback of every other error."""


def deploy(test: bool = False) -> dict:
    """Bring the whole class to its settings, in order, with progress on the terminal.

    Runs the orchestration ``orch.deploy``. A student's running server is never stopped.

    Args:
        test: only say what would change.

    Returns:
        ``hosts``: minion id -> number of changes; ``seconds``.

    Raises:
        Refusal: a host does not answer, or the master's configuration lets people around their rights (nothing was
            changed), or a stage failed.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.deploy
    """
    if found := __utils__["classhub_staff.bypasses"](__opts__):
        raise Refusal(_BYPASSED.format(options="\n- ".join(found)))
    hosts = _everybody_answers()
    beside = {"apart": _roles_beside_the_hub()}
    started = time.monotonic()
    with _following("salt/job/", started, _line):
        outcome = __salt__["state.orchestrate"]("orch.deploy", test=test, pillar=beside)
    changes, failures = _summary(outcome)
    if failures:
        raise Refusal("The class was not deployed:\n- " + "\n- ".join(failures))
    return {
        "hosts": dict.fromkeys(hosts, 0) | changes,
        "seconds": round(time.monotonic() - started),
    }


def drain(node: str, stop: bool = False, test: bool = False) -> str:
    """Send new servers to other nodes; those that run here go on until they end.

    Args:
        node: minion id of the node.
        stop: stop the running servers, too: their students lose unsaved work and kernels.
        test: only say what would be done.

    Returns:
        one sentence.

    Raises:
        Refusal: there is no such living node, or the hub does not answer.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.drain node1
    """
    return _on_hub("classhub_swarm.availability", node, "drain" if stop else "pause", test=test)


def resume(node: str, test: bool = False) -> str:
    """Let a drained node take new servers again.

    Args:
        node: minion id of the node.
        test: only say what would be done.

    Returns:
        one sentence.

    Raises:
        Refusal: there is no such living node, or the hub does not answer.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.resume node1
    """
    return _on_hub("classhub_swarm.availability", node, "active", test=test)


def upgrade_engines(node: str = "", wait: int = 0, test: bool = False) -> dict:
    """Upgrade Docker on the nodes, one after the other. No server is stopped: a node's turn comes when none runs there.

    While a node waits for its servers to end, new ones go to other nodes. Debian's own upgrades leave Docker on nodes
    as it is (apt holds it).

    Args:
        node: minion id of the one node that is meant; all of them without it.
        wait: seconds to wait for the servers of each node to end.
        test: only say what would be done.

    Returns:
        ``table``: minion id -> ``done: what``, ``skipped: why`` or ``failed: why``.

    Raises:
        Refusal: there is no such living node, or the hub does not answer.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.upgrade_engines wait=3600
    """
    members = {
        member["host"]: member for member in _on_hub("classhub_swarm.nodes") if member["node"]
    }
    if node and node not in members:
        raise Refusal(f"no node is called {node!r}; the nodes are {', '.join(members) or 'none'}")
    table = {}
    for name in [node] if node else sorted(members):
        try:
            table[name] = _upgrade_engine(members[name], wait, test)
        except Refusal as error:
            table[name] = f"failed: {error}"
        print(f"{name}: {table[name]}", file=sys.stderr, flush=True)
    failed = any(outcome.startswith("failed") for outcome in table.values())
    return {"table": table, "retcode": int(failed)}


def _upgrade_engine(member: dict, wait: int, test: bool) -> str:
    """The outcome of one node.

    Raises:
        Refusal: it does not answer, or apt failed.
    """
    name = member["host"]
    newer = _on(name, "classhub_engine.upgrades")
    if not newer:
        return "skipped: has the newest"
    words = ", ".join(f"{package} {found['newest']}" for package, found in newer.items())
    if test:
        running = _on(name, "classhub_engine.servers")
        after = f" once the servers of {', '.join(running)} have ended" if running else ""
        return f"done: would get {words}{after}"
    with _paused(member):
        running, until = _on(name, "classhub_engine.servers"), time.monotonic() + wait
        while running and time.monotonic() < until:
            time.sleep(min(10, max(0, until - time.monotonic())))
            running = _on(name, "classhub_engine.servers")
        if running:
            return (
                f"skipped: servers of {', '.join(running)} run there. Say it again later or with a longer wait, or stop "
                f"them: salt-run classhub.drain {name} stop=True"
            )
        _on(name, "classhub_engine.upgrade")
        _ready(name)
    return f"done: has {words}"


@contextlib.contextmanager
def _paused(member: dict) -> Iterator[None]:
    """No new servers come to a node; afterwards they do again, if they did before and it is well."""
    if member["availability"] != "active":
        yield
        return
    host = member["host"]
    _on_hub("classhub_swarm.availability", host, "pause")
    try:
        yield
    except Refusal as error:  # what is wrong with it students should not meet
        raise Refusal(
            f"{error}. New servers come to it after: salt-run classhub.resume {host}"
        ) from error
    except BaseException:
        _on_hub("classhub_swarm.availability", host, "active")
        raise
    _on_hub("classhub_swarm.availability", host, "active")


def _ready(name: str) -> None:
    """Wait until the Swarm has a node back whose engine was restarted.

    Raises:
        Refusal: it does not come back.
    """
    until = time.monotonic() + _BACK
    while time.monotonic() < until:
        states = {member["host"]: member["state"] for member in _on_hub("classhub_swarm.nodes")}
        if states.get(name) == "ready":
            return
        time.sleep(2)
    raise Refusal(f"its engine was upgraded, and it is not back in the Swarm after {_BACK} s")


def _on(minion: str, function: str) -> object:
    """What one minion answers.

    Raises:
        Refusal: it does not, or with an error.
    """
    answer = _asked([minion], function, tgt_type="list", timeout=_PATIENCE).get(minion)
    if not isinstance(answer, dict):
        raise Refusal(f"{minion} does not answer; look at salt-minion there")
    return _told(answer | {"hub": minion})


def roster(drops: int = 0, test: bool = False) -> dict:
    """Bring the class in line with the roster: who came gets an account, a home and what is released; who left is locked.

    Nothing is deleted. The server of who left is stopped and the home archived; with the line back in the roster they
    get it back, and their uid.

    Args:
        drops: how many people are to leave, if it is more than pillar's ``roster:drops``.
        test: only say what would be done.

    Returns:
        ``table``: username -> ``done: what`` or ``failed: why``, for everybody for whom there was something to do;
        ``summary``: how many of each.

    Raises:
        Refusal: the roster has faults, or would make too many leave; nothing was changed.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.roster test=True
    """
    return _course("roster", drops=drops, test=test)


def assignments() -> dict:
    """The assignments of the course, and how far each has come.

    Returns:
        name -> whether it is in ``source``, in ``release`` and in the ``exchange``.

    Raises:
        Refusal: the course's tools are not installed.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.assignments
    """
    return _course("assignments")


def fetch_source(test: bool = False) -> dict:
    """Bring the assignments from where pillar says they come from (``course:source``) into the course's ``source/``.

    An assignment that is not there stays. What was changed in ``source/`` is kept in ``source/.previous``.

    Args:
        test: only say what would be done.

    Returns:
        ``table``: assignment -> ``done: taken at <commit>``, ``skipped: is the same`` or ``failed: why``;
        ``summary``: where they come from.

    Raises:
        Refusal: the repository cannot be reached, or has no such ref or directory; the course keeps what
            it has.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.fetch_source
    """
    return _course("fetch_source", test=test)


def release(
    assignment: str,
    force: bool = False,
    students: str = "",
    generate: bool = True,
    test: bool = False,
) -> dict:
    """Give an assignment to the students: a copy in each home, and nbgrader's list shows it.

    A student who has it keeps what is there. Who joins later, or was missed, gets it when this is said again.

    Args:
        assignment: its name.
        force: give it anew; what students have is kept beside it, as ``ps1.before-<time>``.
        students: these alone, such as ``ada,bob``; they are given it, the others can fetch it.
        generate: bring it from where assignments come from, if pillar says where (``course:source``), and make the
            release version from ``source/`` first; if not, ``release/`` is handed out as it is.
        test: only say what would be done.

    Returns:
        ``table``: username -> ``done: ...``, ``skipped: why`` or ``failed: why``; ``summary``: what was done to the
        exchange.

    Raises:
        Refusal: there is no such assignment or person, or nbgrader cannot make the release version.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.release ps1
    """
    return _course(
        "release", assignment, force=force, students=students, generate=generate, test=test
    )


def hotfix(assignment: str, students: str = "", generate: bool = True, test: bool = False) -> dict:
    """Mend a released assignment in the copies that students work with: its tests and locked cells, and nothing else.

    What was there stays in the home, below ``~/.classhub/before``. A student whose server runs and who has the
    notebook open must reload it from disk; who saves the old one over it gets it mended when this is said again.

    Args:
        assignment: its name.
        students: these alone, such as ``ada,bob``.
        generate: make the release version from ``source/`` first; if not, ``release/`` is taken as it is.
        test: only say what would be done, with what ``release/`` has now.

    Returns:
        ``table``: username -> ``done: ...``, ``skipped: why`` or ``failed: why``; ``summary``: how often each cell was
        mended, and what was done to the exchange.

    Raises:
        Refusal: there is no such assignment or person, or nbgrader cannot make the release version.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.hotfix ps1
    """
    return _course("hotfix", assignment, students=students, generate=generate, test=test)


def status(assignment: str) -> dict:
    """How far each person is with an assignment.

    Args:
        assignment: its name.

    Returns:
        ``table``: username -> ``done: has it, opened; submitted ...``, ``skipped: why`` or ``failed: why``;
        ``summary``: how many of each, whether it is in the exchange, and the same by person as data.

    Raises:
        Refusal: there is no such assignment.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.status ps1
    """
    return _course("status", assignment)


def seal(test: bool = False) -> dict:
    """Seal what students submitted, out of their reach; the hub does so once a minute.

    Args:
        test: only say what would be done.

    Returns:
        ``table``: username -> ``done: ...``, ``skipped: why`` or ``failed: why``; ``summary``: what was refused,
        and what is not finished.

    Raises:
        Refusal: the exchange or the store cannot be used.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.seal
    """
    return _course("seal", test=test)


def receipt(user: str, assignment: str = "") -> dict:
    """What one person submitted and when, compared with what is sealed.

    Args:
        user: the person.
        assignment: this one alone.

    Returns:
        ``table``: username -> ``done: ...``, ``skipped: why`` or ``failed: why``; ``summary``: the receipts.

    Raises:
        Refusal: nobody of this name was ever in the class.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.receipt ada ps1
    """
    return _course("receipt", user, assignment)


def verify() -> dict:
    """Compare everything that is sealed with its ledger, byte by byte.

    Returns:
        ``table``: username -> ``done: ...``, ``skipped: why`` or ``failed: why``; ``summary``: how many seals there
        are, and the ledger's last hash.

    Raises:
        Refusal: the course's tools are not installed, or what is sealed is in use for too long.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.verify
    """
    return _course("verify")


def collect(assignment: str, due: str = "", cutoff: str = "", test: bool = False) -> dict:
    """Bring each person's newest submission that counts to the course's ``submitted/``, for nbgrader to grade.

    Args:
        assignment: its name.
        due: later ones are told as late, for which no late penalty changes: ISO 8601 such as 2030-01-31T23:59, in the
            course's time zone.
        cutoff: later ones do not count.
        test: only say what would be done.

    Returns:
        ``table``: username -> ``done: ...``, ``skipped: why`` or ``failed: why``; ``summary``: who is late and who
        is missing.

    Raises:
        Refusal: there is no such assignment, or a time is none.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.collect ps1 due=2030-01-31T23:59
    """
    return _course("collect", assignment, due=due, cutoff=cutoff, test=test)


def autograde(assignment: str, students: str = "", force: bool = False, test: bool = False) -> dict:
    """Grade what is collected: each submission executed in a container of its own on the nodes.

    Scores and late penalties are in nbgrader's gradebook then. What is broken in a notebook is repaired as far as is
    just, and told. Who is graded already is not graded again, unless something newer is collected; a late penalty is
    brought up to date.

    Args:
        assignment: its name.
        students: these alone, such as ``ada,bob``.
        force: grade anew what is graded already; points that a person gave stay, and are to be looked at again.
        test: only say who would be graded.

    Returns:
        ``table``: username -> ``done: ...``, ``skipped: why`` or ``failed: why``; ``summary``: ``notes``, what was
        repaired and what went wrong, by username.

    Raises:
        Refusal: there is no such assignment or person, or the hub's engine does not answer. Who was graded
            by then stays so; say it again for the others.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.autograde ps1
    """
    with _following("classhub/progress/autograde", time.monotonic(), _said):
        return _course("autograde", assignment, students=students, force=force, test=test)


def feedback(assignment: str, students: str = "", test: bool = False) -> dict:
    """Make the pages that graded work is returned as, and give them to nobody yet.

    Args:
        assignment: its name.
        students: these alone, such as ``ada,bob``.
        test: only say what would be done.

    Returns:
        ``table``: username -> ``done: ...``, ``skipped: why`` or ``failed: why``.

    Raises:
        Refusal: there is no such assignment or person, or nbgrader can make no page.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.feedback ps1
    """
    return _course("feedback", assignment, students=students, test=test)


def return_(
    assignment: str,
    students: str = "",
    force: bool = False,
    generate: bool = True,
    test: bool = False,
) -> dict:
    """Return graded work: pages in each home, and where nbgrader's list in JupyterLab fetches them.

    The source of hidden tests is not in them. What was returned before stays beside it, if it was different.

    Args:
        assignment: its name.
        students: these alone, such as ``ada,bob``.
        force: return also what a person still has to grade a part of.
        generate: make the pages first; if not, those of ``classhub.feedback`` are returned as they are.
        test: only say what would be done.

    Returns:
        ``table``: username -> ``done: ...``, ``skipped: why`` or ``failed: why``; ``summary``: who is not graded, or
        not to the end.

    Raises:
        Refusal: there is no such assignment or person, or nbgrader can make no page.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.return_ ps1
    """
    return _course(
        "return_", assignment, students=students, force=force, generate=generate, test=test
    )


def grades(assignment: str = "", format: str = "csv") -> str:
    """Everybody's points as CSV. A student without a grade has an empty field, not a zero.

    Args:
        assignment: this one alone.
        format: ``csv`` (a line a person and assignment), ``canvas`` or ``moodle``.

    Returns:
        the text.

    Raises:
        Refusal: nothing is graded, or there is no such format.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.grades format=canvas --out=newline_values_only > grades.csv
    """
    return _course("grades", assignment, format=format)


def calendar() -> dict:
    """The course's calendar: when each assignment is due, what the hub does by itself, and what became of it.

    Returns:
        assignment -> ``due``, ``extensions`` by username, and ``actions``: ``verb``, when it is ``planned``, and its
        ``outcome`` once it was tried.

    Raises:
        Refusal: the record of what was done cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.calendar
    """
    return _course("calendar")


def keep_calendar(test: bool = False) -> dict:
    """Do what has come due in the calendar and is not done yet; the hub's schedule says this once a minute.

    An action that was refused, or failed for somebody, is tried again every ten minutes.

    Args:
        test: only say what would be done.

    Returns:
        ``table``: action -> ``done: ...`` or ``failed: why``.

    Raises:
        Refusal: another run keeps the calendar just now.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.keep_calendar test=True
    """
    return _course("keep_calendar", test=test)


def cull(test: bool = False) -> dict:
    """Stop the servers that nobody uses, and none in which something runs; the master's schedule says this hourly.

    Every server that could be idle is asked for its kernels and terminals; one that cannot be asked is kept. Pins,
    exams and deadlines keep servers, too. What was decided, and why, is in ``/var/lib/classhub/culling/culled.jsonl``.

    Args:
        test: only say what would be done.

    Returns:
        ``table``: server -> ``done: stopped, idle 26:03``, ``skipped: why`` or ``failed: why``; ``summary``: how many
        for which reason, and which could not be asked.

    Raises:
        Refusal: the hub or its engine does not answer (nothing was stopped), or another run culls.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.cull test=True
    """
    return _course("cull", test=test)


def activity(
    question: str = "hourly",
    assignment: str = "",
    since: str = "",
    until: str = "",
    format: str = "json",
) -> list | str | dict:
    """Who uses the class, how many at once, for how long, and what the next week needs.

    Args:
        question: ``hourly`` (people and servers by hour), ``peak`` (the most at once), ``hours`` (of use by student, in
            all and in each assignment's time), ``sessions`` (each server that ran), ``gaps`` (when events may be
            missing), ``unstarted`` (who has done nothing of an assignment) or ``forecast`` (seats and nodes that the
            next seven days need).
        assignment: for ``unstarted``.
        since: a time of the course's zone such as 2030-01-31T00:00; a week before ``until``.
        until: a time; now.
        format: ``json`` (rows) or ``csv`` (text).

    Returns:
        rows, each a mapping of columns; or the text. Where somebody could not be looked at, ``table`` (username ->
            ``failed: why``) beside these as ``rows`` or ``csv``.

    Raises:
        Refusal: nothing is recorded yet, or there is no such question, assignment or time.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.activity hours format=csv --out=newline_values_only > hours.csv
    """
    return _course("activity", question, assignment, since=since, until=until, format=format)


def disk() -> dict:
    """How full the disk with everybody's homes is, and who uses most of it.

    Returns:
        ``size``, ``used``, ``free``, ``files``; ``quotas``: how many people have one, or why nobody can; ``over``: who
        uses more than the quota; ``largest``: who uses most, where the filesystem keeps quotas; ``warnings``.

    Raises:
        Refusal: the hub does not answer.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.disk
    """
    return _on_hub("classhub.disk")


def doctor(proof: bool = True) -> dict:
    """Whether the class works: every host is looked at, and an own student starts a server, runs a cell and submits.

    Nothing is changed, and nobody is disturbed. The exit code is 1 if anything failed.

    Args:
        proof: also go a student's way, which takes some seconds.

    Returns:
        ``checks``: ``<host>: <check>`` -> ``ok: ...``, ``warning: ...`` or ``failed: ... To do: ...``; ``summary``: how
        many of each.

    Raises:
        Refusal: no host answers.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.doctor --out=json
    """
    say = __utils__["classhub_doctor.finding"]
    here, told = _who_is_here(say)
    asked = time.time()
    clocks = _asked(here, "classhub_doctor.clock", tgt_type="list", timeout=_PATIENCE)
    answered = time.time()
    answers = _asked(here, "classhub_doctor.examined", tgt_type="list", timeout=_PATIENCE)
    facts = {}
    for host in here:
        clock, answer = clocks.get(host), answers.get(host)
        if not _is_answer(clock) or not _is_answer(answer):
            bad = answer if _is_answer(clock) else clock
            why = bad.get("ret") if isinstance(bad, dict) else "no answer"
            told[host] = [say("examined", "failed", str(why), f"salt {host} saltutil.sync_all")]
            continue
        told[host] = [
            __utils__["classhub_doctor.clock"](clock["ret"], asked, answered),
            *answer["ret"]["checks"],
        ]
        facts[host] = answer["ret"]["facts"]
    hub = next((host for host, known in facts.items() if "image" in known), "")
    for host, found in __utils__["classhub_doctor.compared"](
        facts, hub, salt.version.__version__
    ).items():
        told[host] += found
    if proof and hub:
        told[hub] += _proof(say)
    told.setdefault("master", []).append(_master(say))
    return _diagnosis(told)


def _who_is_here(say: Callable) -> tuple[list[str], dict]:
    """Minion ids of those that answer, and a finding of each that does not.

    Raises:
        Refusal: none answers.
    """
    with salt.client.get_local_client(__opts__["conf_file"]) as client:
        ping = client.cmd("*", "test.ping", timeout=10, gather_job_timeout=10, full_return=True)
        here = sorted(minion for minion, answer in ping.items() if _is_here(answer))
        hosts = client.cmd(here, "classhub.hosts", tgt_type="list") if here else {}
    known = {host for answer in hosts.values() if isinstance(answer, dict) for host in answer}
    if not here:
        raise Refusal(
            "no host answers; is salt-minion up anywhere, and are keys accepted (salt-key)?"
        )
    todo = "on {host}: systemctl status salt-minion; salt-key on the master"
    return here, {
        host: [say("minion", "failed", "it does not answer", todo.format(host=host))]
        for host in sorted((set(ping) | known) - set(here))
    }


def _master(say: Callable) -> dict:
    """Whether the master that runs is the class's own, which believes a host about that host alone."""
    wanted = Path(__file__).resolve().parents[1] / "bin/salt-master"
    todo = f"./bootstrap.sh master in {wanted.parents[1]}, then systemctl restart salt-master"
    try:
        process = int(Path(__opts__["pidfile"]).read_text(encoding="ascii"))
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except (OSError, ValueError) as error:
        return say("program", "warning", f"the master's process is not found: {error}", todo)
    if os.fsencode(wanted) in command:
        return say("program", "ok", "the master is the class's own")
    told = "the master is not the class's own: a node can answer in another host's name"
    return say("program", "failed", told, todo)


def _proof(say: Callable) -> list[dict]:
    """A student's way, by the hub."""
    try:
        answer = _ask_hub("classhub_course.call", ("prove",), {}, timeout=_PATIENCE)
        return _told(answer)["summary"]["checks"]
    except Refusal as error:
        return [say("proof", "failed", str(error), "salt hub state.apply")]


def _diagnosis(told: dict[str, list[dict]]) -> dict:
    findings = [(host, found) for host, rows in sorted(told.items()) for found in rows]
    count = {
        result: sum(found["result"] == result for _, found in findings)
        for result in ("ok", "warning", "failed")
    }
    sentence = __utils__["classhub_doctor.sentence"]
    checks = {f"{host}: {found['check']}": sentence(found) for host, found in findings}
    return {"checks": checks, "summary": count, "retcode": int(bool(count["failed"]))}


def forget_identity(user: str, test: bool = False) -> dict:
    """Forget which GitHub account somebody has signed in with: the next one with the person's login counts.

    For a new account of the same person. Whoever has the login then is believed, so look first whose it is. Who is
    signed in as the person is signed out, and the person's server is stopped: it may be somebody else's.

    Args:
        user: the person.
        test: only say what would be done.

    Returns:
        ``table``: username -> ``done: ...`` or ``skipped: why``.

    Raises:
        Refusal: the hub does not answer, its record of them cannot be read, or the server cannot be stopped.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.forget_identity ada
    """
    return _course("forget_identity", user, test=test)


def backup(test: bool = False) -> dict:
    """Save the class now; the hub does so by itself, each hour by default.

    Databases that are in use are copied by SQLite itself, and each copy is checked.

    Args:
        test: only say what would be done.

    Returns:
        ``table``: ``files`` and each database -> ``done: ...``, ``skipped: why`` or ``failed: why``; ``summary``: the
        ``snapshot``, and what was left out as ``too_large``, ``hollow`` or ``too_deep``.

    Raises:
        Refusal: the repository cannot be used, or the homes are not the class's; nothing was saved.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.backup test=True
    """
    return _course("backup", test=test)


def snapshots() -> dict:
    """What there is to restore, and whether the backup does its work.

    Returns:
        ``table``: ``backup``, ``drill`` and ``prune`` -> how the last one ended, ``failed: ...`` also when it is overdue;
        ``summary``: the ``repository`` and its ``snapshots``, newest first, with times of the course's zone.

    Raises:
        Refusal: the repository cannot be used.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.snapshots
    """
    return _course("snapshots")


def restore(user: str, path: str = "", at: str = "", test: bool = False) -> dict:
    """Give a person back a file, a directory or the whole home as it was, beside what is there now.

    ``ps1/problem1.ipynb`` comes back as ``ps1/problem1 (restored 2030-01-31 14.00).ipynb``. Nothing is replaced.

    Args:
        user: the person.
        path: within the home; without it the whole home.
        at: as of when: ``2030-01-31 14:00`` or ``yesterday 14:00`` of the course's zone, or a snapshot's name; the
            newest snapshot that has it.
        test: only say what would be done.

    Returns:
        ``table``: username -> ``done: restored as ~/...`` or ``failed: why``; ``summary``: the ``snapshot``, and what
        was ``left_out``: devices and the like, what belongs to others, what is damaged.

    Raises:
        Refusal: it was not there then (the sentence lists the snapshots that have it), or the repository
            cannot be used.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.restore ada ps1/problem1.ipynb at='yesterday 14:00'
    """
    return _course("restore", user=user, path=str(path), at=str(at), test=test)


def drill(test: bool = False) -> dict:
    """Restore files of the newest snapshot at random, and every database, and compare them; the hub does so each night.

    Args:
        test: only say what would be done.

    Returns:
        ``table``: ``files`` -> how many were restored and compared, or what failed -> ``failed: why``; ``summary``: the
        ``snapshot``.

    Raises:
        Refusal: there is no snapshot, or the repository cannot be used.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.drill
    """
    return _course("drill", test=test)


def recover(at: str = "", test: bool = False) -> dict:
    """Bring the whole class from its backup to this hub, which must be new: see docs/howto/back-up-and-restore.md.

    Args:
        at: as of when, as in ``classhub.restore``; the newest snapshot.
        test: only say what would be done.

    Returns:
        ``table``: ``files`` and each database -> ``done: ...`` or ``failed: why``; ``summary``: what is ``next``.

    Raises:
        Refusal: a class lives on this hub already, an account is missing, or the repository cannot be
            used; nothing was restored.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.recover test=True
    """
    with _following("classhub/progress/recover", time.monotonic(), _said):
        return _course("recover", at=str(at), test=test)


def pull_activity(sample: bool = False) -> dict:
    """Bring what the nodes know of students' servers to the hub; the reactor says this when something waits there.

    Nothing is lost on the way: a node forgets an event when the hub has it on its disk. Where another run is at work,
    that one looks once more.

    Args:
        sample: also note who uses the class just now, as the master's schedule says every five minutes.

    Returns:
        ``table``: minion id -> ``done: ...`` or ``failed: why``, empty where another run pulls; ``summary``: of the
        sample.

    Raises:
        Refusal: the hub does not answer, or cannot write.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.pull_activity
    """
    table = _pull_alone()
    summary = _on_hub("classhub_activity.sample")["summary"] if sample else {}
    return {"table": table, "summary": summary}


def _pull_alone() -> dict[str, str]:
    """The table of a pull; empty where another run is at work, which looks once more then."""
    folder = Path(__opts__["cachedir"]) / "classhub"
    folder.mkdir(parents=True, exist_ok=True)
    wanted, table = folder / "activity.wanted", {}
    wanted.touch()
    with open(folder / "activity.lock", "w", encoding="ascii") as lock:
        for _ in range(_TURNS):  # whatever nodes say: the master has more to do
            if not wanted.exists():
                break
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                break
            wanted.unlink(missing_ok=True)
            if _pull(table):
                wanted.touch()
            # before the next look: whoever asks after it finds the lock free
            fcntl.flock(lock, fcntl.LOCK_UN)
    return table


def _pull(table: dict[str, str]) -> bool:
    """Bring what waits on the nodes to the hub, and put into the table what became of it; whether more waits."""
    told = _asked(_NODE, "classhub_activity.waiting", [_PULLED], tgt_type="pillar")
    batches = {node: answer["ret"] for node, answer in told.items() if _is_batch(answer)}
    table |= {node: f"failed: {_why_not(told[node])}" for node in told.keys() - batches.keys()}
    rows = {node: batch["rows"] for node, batch in batches.items() if batch["rows"]}
    table |= dict.fromkeys(batches.keys() - rows.keys() - table.keys(), "done: nothing new")
    if not rows:
        return False
    table |= _on_hub("classhub_activity.record", rows)["table"]
    more = False
    for node, found in rows.items():
        words = [batches[node]["spool"], found[-1][0]]
        answer = _asked([node], "classhub_activity.forget", words, tgt_type="list").get(node)
        if not _is_answer(answer):
            table[node] = f"failed: does not forget what the hub has: {_why_not(answer)}"
        elif answer.get("ret") and len(found) >= _PULLED:
            more = True
    return more


def _is_batch(answer: object) -> bool:
    """Whether a node's answer is what waits there, as ``classhub_activity.waiting`` gives it."""
    told = answer.get("ret") if isinstance(answer, dict) else None
    if not isinstance(told, dict) or not isinstance(told.get("rows"), list) or "spool" not in told:
        return False
    return all(isinstance(row, list) and row and type(row[0]) is int for row in told["rows"])


def _why_not(answer: object) -> str:
    """Why a minion's answer is none."""
    told = answer.get("ret") if isinstance(answer, dict) else None
    if isinstance(told, str):
        return told.removeprefix("ERROR: ")
    return "its answer makes no sense" if told else "does not answer"


def keep_schedule() -> dict:
    """Do what the master does by itself and has come due; its schedule says this once a minute.

    That is ``classhub.cull`` and ``classhub.pull_activity``, as often as pillar says (``cull:interval``,
    ``activity:interval``). What goes wrong is in the master's log.

    Returns:
        what became of it: verb -> its summary, or why there is none.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.keep_schedule
    """
    # as a minion that is none: what all of them may know, and nobody's secrets
    name = __opts__["id"]
    settings = __salt__["pillar.show_pillar"](name, id=name)["classhub"]
    told = {}
    if _is_due("cull", settings["cull"]["interval"]):
        told["cull"] = _kept("cull", cull.__wrapped__)
    if _is_due("activity", settings["activity"]["interval"]):
        told["pull_activity"] = _kept(
            "pull_activity", lambda: pull_activity.__wrapped__(sample=True)
        )
    return told


def _kept(verb: str, act: Callable[[], dict]) -> object:
    """What became of a verb, whose faults go to the log, as nobody waits for it."""
    try:
        report = act()
    except Refusal as error:
        log.error("classhub.%s: %s", verb, error)
        return str(error)
    for name, outcome in report["table"].items():
        if outcome.startswith("failed"):
            log.warning("classhub.%s: %s: %s", verb, name, outcome)
    for server in report["summary"].get("unanswered", ()):
        log.warning("classhub.%s: %s could not be asked, and was kept", verb, server)
    return report["summary"]


def _is_due(job: str, interval: int) -> bool:
    """Whether a job's time has come, to the nearest look; its next interval begins now. At first it has not."""
    stamp = Path(__opts__["cachedir"]) / "classhub" / job
    if interval <= 0:
        return False
    now, known = time.time(), stamp.exists()
    # a stamp of the future is that of a clock that was wrong
    if known and 0 <= now - stamp.stat().st_mtime < interval - _LOOKS / 2:
        return False
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()
    os.utime(stamp, (now, now))
    return known


# -- staff -----------------------------------------------------------------------------------------------------------


def staff_token(user: str) -> str:
    """Give an instructor or grader a new token, with which the command ``classhub`` says verbs as that person.

    It is in a file of the master that root alone can read, and nowhere else: neither in what this returns nor in the
    job cache. A token that the person had before is worth nothing then.

    Args:
        user: the person, on the roster as grader or instructor.

    Returns:
        where the file is; it is what the person needs as ``~/.config/classhub.json``.

    Raises:
        Refusal: the person is not staff, or the master has no way in for staff.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.staff_token grace
    """
    if "classhub_api" not in __opts__:
        raise Refusal("the master has no way in for staff: run bootstrap.sh master --api ADDR:PORT")
    roles = __utils__["classhub_staff.roles"](__salt__["pillar.show_pillar"], __opts__["id"])
    role = roles.get(user)
    if not role:
        raise Refusal(f"{user} is not on the roster")
    if not __utils__["classhub_staff.may"](role, "status"):
        raise Refusal(f"{user} is a {role}, and those have no right to any verb")
    api, file = __opts__["classhub_api"], __utils__["classhub_staff.tokens_file"](__opts__)
    theirs = {
        "url": f"https://{api['address']}:{api['port']}/",
        "fingerprint": __utils__["classhub_staff.fingerprint"](api["certificate"]),
        "user": user,
        "token": __utils__["classhub_staff.new_token"](file, user),
    }
    handed = file.with_name(f"{user}.json")
    __utils__["classhub_staff.write_private"](handed, json.dumps(theirs, indent=1) + "\n")
    return f"the token is in {handed}; hand it to {user} and remove it here"


def staff_tokens() -> dict[str, str]:
    """Who has a token, and since when.

    Returns:
        username -> time of UTC.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.staff_tokens
    """
    return __utils__["classhub_staff.holders"](__utils__["classhub_staff.tokens_file"](__opts__))


def revoke_staff_token(user: str) -> str:
    """Make a person's token worth nothing, at once.

    Args:
        user: the person.

    Returns:
        one sentence.

    Raises:
        Refusal: the person has none.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.revoke_staff_token grace
    """
    file = __utils__["classhub_staff.tokens_file"](__opts__)
    if not __utils__["classhub_staff.revoke"](file, user):
        raise Refusal(f"{user} has no token")
    file.with_name(f"{user}.json").unlink(missing_ok=True)
    return f"{user} has no token any more"


def audit(since: str = "", user: str = "", verb: str = "") -> list[dict]:
    """What was done to the class by whom, on this master: by ``salt-run classhub.<verb>`` and by staff.

    Args:
        since: a time of UTC such as 2030-01-31 or 2030-01-31T12:00.
        user: of this person alone.
        verb: of this verb alone.

    Returns:
        entries, oldest first: ``time``, ``who``, ``how`` (salt-run or classhub), ``verb``, ``arguments``, ``outcome``
        and Salt's ``job``. What was done has two: ``begun``, and how it ended.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.audit since=2030-01-31 user=grace
    """
    file = __utils__["classhub_audit.audit_file"](__opts__)
    return list(__utils__["classhub_audit.entries"](file, str(since), user, verb))


def _recorded(function: Callable) -> Callable:
    """A verb that is in the record before it begins, and again when it has ended."""

    @functools.wraps(function)
    def recorded(*args: object, **kwargs: object) -> object:
        who, _, way = __user__.partition("@")
        if function.__name__ in _UNRECORDED and not way:
            return function(*args, **kwargs)
        entry = {
            "who": who,
            "how": way or "salt-run",
            "verb": function.__name__,
            "arguments": inspect.signature(function).bind(*args, **kwargs).arguments,
            "job": __jid__,
        }
        try:
            _record(**entry, outcome="begun")
        except OSError as error:
            raise Refusal(f"Nothing was done, for it cannot be recorded: {error}") from None
        outcome = "failed without a word"
        try:
            returned = function(*args, **kwargs)
            outcome = _outcome(returned)
            return returned
        except Refusal as refusal:
            outcome = f"refused: {refusal}"
            raise
        except Exception as error:
            outcome = f"failed: {error!r}"
            raise
        finally:
            try:
                _record(**entry, outcome=outcome)
            except OSError as error:
                log.error("the end of classhub.%s cannot be recorded: %s", function.__name__, error)

    return recorded


def _record(**entry: object) -> None:
    __utils__["classhub_audit.append"](__utils__["classhub_audit.audit_file"](__opts__), **entry)


def _outcome(returned: object) -> str:
    """How a verb ended: of a table, how many did how."""
    table = returned.get("table") if isinstance(returned, dict) else None
    if not isinstance(table, dict):
        return "done"
    words = [str(told).partition(":")[0] for told in table.values()]
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words)) or "done"


def _course(verb: str, *args: str, **kwargs: object) -> dict:
    """A verb of the course, said on the hub; that somebody failed is the exit code of salt-run (``retcode``)."""
    answer = _ask_hub(f"classhub.{verb}", args, kwargs, timeout=_PATIENCE)
    if answer.get("retcode") and isinstance(answer["ret"], dict):
        return answer["ret"] | {"retcode": answer["retcode"]}
    return _told(answer)


def _on_hub(function: str, *args: object, **kwargs: object) -> object:
    return _told(_ask_hub(function, args, kwargs))


def _told(answer: dict) -> object:
    if answer.get("retcode"):
        raise Refusal(f"{answer['hub']}: {str(answer['ret']).removeprefix('ERROR: ')}")
    return answer["ret"]


def _ask_hub(function: str, args: tuple, kwargs: dict, **options: object) -> dict:
    answers = _asked(_HUB, function, args, kwargs, tgt_type="pillar", **options)
    if len(answers) != 1:
        raise Refusal(
            f"{len(answers)} hubs answered, not one; is the hub's minion up and its key accepted?"
        )
    hub, answer = answers.popitem()
    if not isinstance(answer, dict):
        raise Refusal(f"{hub} does not answer; look at salt-minion there")
    return answer | {"hub": hub}


def _asked(
    target: str | list[str],
    function: str,
    args: Sequence = (),
    kwargs: dict | None = None,
    **options: object,
) -> dict:
    """What minions answer, with the exit code of each."""
    with salt.client.get_local_client(__opts__["conf_file"]) as client:
        return client.cmd(target, function, args, kwarg=kwargs, full_return=True, **options)


def _everybody_answers() -> list[str]:
    """Minion ids of the class, all of which answer and know its present settings and code."""
    with salt.client.get_local_client(__opts__["conf_file"]) as client:
        ping = client.cmd("*", "test.ping", timeout=10, gather_job_timeout=10, full_return=True)
        # of a silent minion Salt says so in its place
        silent = sorted(minion for minion, answer in ping.items() if not _is_here(answer))
        if silent or not ping:
            raise Refusal(_SILENT.format(hosts=", ".join(silent) or "no host"))
        # a host that was added, or code that changed, since the minions last looked
        client.cmd("*", "saltutil.refresh_pillar", kwarg={"wait": True})
        client.cmd("*", "saltutil.sync_all")
        answers = client.cmd("*", "classhub.hosts", full_return=True)
    for minion, answer in sorted(answers.items()):
        if not isinstance(answer, dict) or answer.get("retcode"):
            told = answer["ret"] if isinstance(answer, dict) else answer
            raise Refusal(f"Nothing was changed: {minion}: {str(told).removeprefix('ERROR: ')}")
    known = {host for answer in answers.values() for host in answer["ret"]} | set(ping)
    missing = sorted(known - set(answers))
    if missing:
        raise Refusal(_SILENT.format(hosts=", ".join(missing)))
    return sorted(answers)


def _roles_beside_the_hub() -> list[str]:
    """The roles of all hosts but the hub, as the master's own pillar has them: hosts are not asked what others do."""
    name = __opts__["id"]
    hosts = __salt__["pillar.show_pillar"](name, id=name)["classhub"]["hosts"].values()
    return sorted({role for host in hosts if "hub" not in host["roles"] for role in host["roles"]})


def _is_answer(answer: object) -> bool:
    """Whether it is one, and neither an error nor what Salt says in the place of a silent minion."""
    if not isinstance(answer, dict) or answer.get("retcode"):
        return False
    return not isinstance(answer.get("ret"), str)


def _is_here(answer: object) -> bool:
    return isinstance(answer, dict) and answer.get("ret") is True


@contextlib.contextmanager
def _following(tag: str, started: float, told: Callable[[dict], str]) -> Iterator[None]:
    """Print what is told of each event whose tag starts so, as it comes."""
    done = threading.Event()

    def follow() -> None:
        with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=True) as bus:
            while not done.is_set():
                event = bus.get_event(wait=1, tag=tag, match_type="startswith", full=True)
                line = told(event) if event else ""
                if line:
                    print(
                        f"{time.monotonic() - started:6.0f} s  {line}", file=sys.stderr, flush=True
                    )

    listener = threading.Thread(target=follow, daemon=True)
    listener.start()
    try:
        yield
    finally:
        done.set()
        listener.join(timeout=5)


def _said(event: dict) -> str:
    """A line of progress that a verb of the course told on the hub."""
    data = event["data"]
    inner = data.get("data")
    return str(inner.get("line", "")) if isinstance(inner, dict) else ""


def _line(event: dict) -> str:
    """A job of the orchestration, or a host's answer to one."""
    data = event["data"]
    if not str(data.get("fun", "")).startswith("state."):
        return ""
    if event["tag"].endswith("/new"):
        names = [arg for arg in data.get("arg", []) if isinstance(arg, str)] or ["all its states"]
        return f"{', '.join(data.get('minions', []))}: {', '.join(names)}"
    if "/ret/" in event["tag"]:
        states = data["return"].values() if isinstance(data.get("return"), dict) else []
        changed = sum(1 for state in states if state.get("changes"))
        return f"{data['id']}: {'done' if data.get('success') else 'FAILED'}, {changed} changes"
    return ""


def _summary(outcome: dict) -> tuple[dict[str, int], list[str]]:
    """Changes by host, and the comment of every state that failed, host by host."""
    changes: dict[str, int] = {}
    failures = []
    for stages in outcome["data"].values():
        if not isinstance(stages, dict):
            return {}, [str(stages)]
        for stage in sorted(stages.values(), key=lambda entry: entry.get("__run_num__", 0)):
            returned = stage.get("changes", {}).get("ret", {})
            for host, states in returned.items():
                if not isinstance(states, dict):
                    failures.append(f"{host}: {states}")
                    continue
                changes[host] = changes.get(host, 0) + sum(
                    1 for state in states.values() if state.get("changes")
                )
                failures += [
                    f"{host}: {state.get('__id__')}: {state['comment']}"
                    for state in states.values()
                    if state["result"] is False
                ]
            if stage["result"] is False and not returned:
                failures.append(f"{stage.get('__id__')}: {stage['comment']}")
    return changes, failures


# Every verb, so that none that is added can be forgotten. Names first: Salt leaves weak references among the globals.
for _name, _function in list(globals().items()):
    if _name[0] != "_" and inspect.isfunction(_function) and _function.__module__ == __name__:
        globals()[_name] = _recorded(_function)
