"""What an instructor says to the class, on the hub: ``salt hub classhub.<verb>``."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub"


def __virtual__():
    if "classhub" not in __pillar__:
        return (
            False,
            "this minion has no classhub pillar; is config/master.d/classhub.conf installed on the master?",
        )
    return __virtualname__


def hosts() -> dict[str, dict]:
    """The hosts of the class.

    Returns:
        minion id -> ``address`` and ``roles``.

    Raises:
        CommandExecutionError: the settings have faults; all of them are told.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.hosts
    """
    faults = __pillar__["classhub"]["faults"]
    if faults:
        raise CommandExecutionError("this class's settings have faults:\n- " + "\n- ".join(faults))
    return {
        minion: {"address": host["address"], "roles": list(host["roles"])}
        for minion, host in __pillar__["classhub"]["hosts"].items()
    }


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
        CommandExecutionError: the roster has faults, or would make too many leave; nothing was changed.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.roster test=True
    """
    answer = __salt__["state.apply"](
        "check,course.people", test=test, pillar={"classhub_drops": int(drops)}
    )
    if not isinstance(answer, dict):
        raise CommandExecutionError("; ".join(answer))
    states = sorted(answer.values(), key=lambda state: state["__run_num__"])
    table = _people_of(states)
    failed = [name for name, outcome in table.items() if outcome.startswith("failed")]
    if not failed:
        for state in states:
            if state["result"] is False:
                raise CommandExecutionError(state["comment"])
    __context__["retcode"] = int(bool(failed))
    return {"table": table, "summary": {"done": len(table) - len(failed), "failed": len(failed)}}


def _people_of(states: list[dict]) -> dict[str, str]:
    """What states did for whom, of those that tell it by username."""
    told: dict[str, list[str]] = {}
    for state in states:
        if state["name"] in ("roster", "exchange", "quotas", "newcomers"):
            for who, what in state["changes"].items():
                text = ", ".join(what) if isinstance(what, list) else what
                told.setdefault(who, []).append(text.removeprefix("done: "))
    for shared in ("exchange", "quotas", "newcomers"):
        told.pop(shared, None)
    failures = {
        who: [text for text in texts if text.startswith("failed")] for who, texts in told.items()
    }
    return {
        who: "; ".join(failures[who]) or f"done: {'; '.join(texts)}"
        for who, texts in sorted(told.items())
    }


def certificate() -> dict:
    """The certificate that students see. For the proxy host.

    Returns:
        ``names``, ``issuer``, ``self_signed``, ``begins`` and ``ends`` (UTC), ``days_left``, ``fingerprint``
        (SHA-256), ``key_fits``: whether its key belongs to it, and ``is_for_domain``.

    Raises:
        CommandExecutionError: there is none, or it cannot be read.

    CLI Example:

    .. code-block:: bash

        salt proxy classhub.certificate
    """
    return __salt__["classhub_certificate.shown"]()


def assignments() -> dict:
    """The assignments of the course, and how far each has come.

    Returns:
        name -> whether it is in ``source``, in ``release`` and in the ``exchange``.

    Raises:
        CommandExecutionError: the course's tools are not installed.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.assignments
    """
    return __salt__["classhub_course.call"]("assignments")["summary"]["assignments"]


def fetch_source(test: bool = False) -> dict:
    """Bring the assignments from where pillar says they come from (``course:source``) into the course's ``source/``.

    An assignment that is not there stays. What was changed in ``source/`` is kept in ``source/.previous``.

    Args:
        test: only say what would be done.

    Returns:
        ``table``: assignment -> ``done: taken at <commit>``, ``skipped: is the same`` or ``failed: why``;
        ``summary``: where they come from.

    Raises:
        CommandExecutionError: the repository cannot be reached, or has no such ref or directory; the course keeps what
            it has.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.fetch_source
    """
    return _course("fetch-source", test=test)


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
        CommandExecutionError: there is no such assignment or person, or nbgrader cannot make the release version.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.release ps1
    """
    options = [f"--students={students}"] if students else []
    options += ["--generate"] * generate + ["--force"] * force
    return _course("release", assignment, options=options, test=test)


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
        CommandExecutionError: there is no such assignment or person, or nbgrader cannot make the release version.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.hotfix ps1
    """
    running = __salt__["classhub_swarm.servers"]()
    options = [f"--students={students}"] if students else []
    options += [f"--running={','.join(running)}"] if running else []
    options += ["--generate"] * generate
    return _course("hotfix", assignment, options=options, test=test)


def status(assignment: str) -> dict:
    """How far each person is with an assignment.

    Args:
        assignment: its name.

    Returns:
        ``table``: username -> ``done: has it, opened; submitted ...``, ``skipped: why`` or ``failed: why``;
        ``summary``: how many of each, whether it is in the exchange, and the same by person as data.

    Raises:
        CommandExecutionError: there is no such assignment.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.status ps1
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
        CommandExecutionError: the exchange or the store cannot be used.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.seal
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
        CommandExecutionError: nobody of this name was ever in the class.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.receipt ada ps1
    """
    return _course("receipt", user, *([assignment] if assignment else []))


def verify() -> dict:
    """Compare everything that is sealed with its ledger, byte by byte.

    Returns:
        ``table``: username -> ``done: ...``, ``skipped: why`` or ``failed: why``; ``summary``: how many seals there
        are, and the ledger's last hash.

    Raises:
        CommandExecutionError: the course's tools are not installed, or what is sealed is in use for too long.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.verify
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
        CommandExecutionError: there is no such assignment, or a time is none.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.collect ps1 due=2030-01-31T23:59
    """
    options = [f"--due={due}"] if due else []
    options += [f"--cutoff={cutoff}"] if cutoff else []
    return _course("collect", assignment, options=options, test=test)


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
        CommandExecutionError: there is no such assignment or person, or the hub's engine does not answer. Who was graded
            by then stays so; say it again for the others.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.autograde ps1
    """
    options = [f"--students={students}"] if students else []
    options += ["--force"] * force
    return _course("autograde", assignment, options=options, test=test, follow=True)


def feedback(assignment: str, students: str = "", test: bool = False) -> dict:
    """Make the pages that graded work is returned as, and give them to nobody yet.

    Args:
        assignment: its name.
        students: these alone, such as ``ada,bob``.
        test: only say what would be done.

    Returns:
        ``table``: username -> ``done: ...``, ``skipped: why`` or ``failed: why``.

    Raises:
        CommandExecutionError: there is no such assignment or person, or nbgrader can make no page.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.feedback ps1
    """
    options = [f"--students={students}"] if students else []
    return _course("feedback", assignment, options=options, test=test)


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
        CommandExecutionError: there is no such assignment or person, or nbgrader can make no page.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.return_ ps1
    """
    options = [f"--students={students}"] if students else []
    options += ["--generate"] * generate + ["--force"] * force
    return _course("return", assignment, options=options, test=test)


def grades(assignment: str = "", format: str = "csv") -> str:
    """Everybody's points as CSV. A student without a grade has an empty field, not a zero.

    Args:
        assignment: this one alone.
        format: ``csv`` (a line a person and assignment), ``canvas`` or ``moodle``.

    Returns:
        the text.

    Raises:
        CommandExecutionError: nothing is graded, or there is no such format.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.grades format=canvas --out=newline_values_only > grades.csv
    """
    words = [assignment] if assignment else []
    return _course("grades", *words, options=[f"--format={format}"])["summary"]["csv"]


def calendar() -> dict:
    """The course's calendar: when each assignment is due, what the hub does by itself, and what became of it.

    Returns:
        assignment -> ``due``, ``extensions`` by username, and ``actions``: ``verb``, when it is ``planned``, and its
        ``outcome`` once it was tried.

    Raises:
        CommandExecutionError: the record of what was done cannot be read.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.calendar
    """
    return _course("calendar")["summary"]["calendar"]


def keep_calendar(test: bool = False, grading: bool | None = None) -> dict:
    """Do what has come due in the calendar and is not done yet; the hub's schedule says this once a minute.

    An action that was refused, or failed for somebody, is tried again every ten minutes.

    Args:
        test: only say what would be done.
        grading: true: only grade; false: all but that. The schedule has a job for each, so that nothing waits for grading.

    Returns:
        ``table``: action -> ``done: ...`` or ``failed: why``.

    Raises:
        CommandExecutionError: another run keeps the calendar just now.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.keep_calendar test=True
    """
    options = [] if grading is None else ["--grading" if grading else "--no-grading"]
    return _course("keep-calendar", options=options, test=test)


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
        CommandExecutionError: the hub or its engine does not answer (nothing was stopped), or another run culls.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.cull test=True
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
        CommandExecutionError: nothing is recorded yet, or there is no such question, assignment or time.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.activity unstarted ps1
    """
    options = [f"--format={format}"]
    options += [f"--since={since}"] if since else []
    options += [f"--until={until}"] if until else []
    words = [question, assignment] if assignment else [question]
    report, key = _course("activity", *words, options=options), "csv" if format == "csv" else "rows"
    told = report["summary"][key]
    return {"table": report["table"], key: told} if report["table"] else told


def import_activity(file: str) -> dict:
    """Take over a database of polls, as classes kept it: a table ``activity(date, user, active)``.

    Args:
        file: its path on the hub.

    Returns:
        ``table``: username -> how many intervals were taken.

    Raises:
        CommandExecutionError: it is none.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.import_activity /root/activity.sqlite
    """
    return _course("import-activity", file)


def disk() -> dict:
    """How full the disk with everybody's homes is, and who uses most of it.

    Returns:
        ``size``, ``used``, ``free``, ``files``; ``quotas``: how many people have one, or why nobody can; ``over``: who
        uses more than the quota; ``largest``: who uses most, where the filesystem keeps quotas; ``warnings``.

    Raises:
        CommandExecutionError: the course's tools are not installed.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.disk
    """
    report = __salt__["classhub_course.call"]("disk", package="classhub.disk")
    counted = ("done", "skipped", "failed")
    return {key: told for key, told in report["summary"].items() if key not in counted}


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
        CommandExecutionError: the hub's record of them cannot be read, or the server cannot be stopped.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.forget_identity ada
    """
    told = __salt__["classhub_course.call"](
        "forget", [user], ["--test"] if test else [], package="classhub.identities"
    )
    if not test and any(outcome.startswith("done") for outcome in told["table"].values()):
        try:
            __salt__["classhub_swarm.stop"](user)
        except CommandExecutionError as error:
            raise CommandExecutionError(
                f"{user} is forgotten, but the server may still run ({error}): salt hub classhub_swarm.stop {user}"
            ) from error
    return told


def backup(test: bool = False) -> dict:
    """Save the class now; the hub does so by itself, each hour by default.

    Databases that are in use are copied by SQLite itself, and each copy is checked.

    Args:
        test: only say what would be done.

    Returns:
        ``table``: ``files`` and each database -> ``done: ...``, ``skipped: why`` or ``failed: why``; ``summary``: the
        ``snapshot``, and what was left out as ``too_large``, ``hollow`` or ``too_deep``.

    Raises:
        CommandExecutionError: the repository cannot be used, or the homes are not the class's; nothing was saved.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.backup test=True
    """
    return _backup("backup", test=test)


def snapshots() -> dict:
    """What there is to restore, and whether the backup does its work.

    Returns:
        ``table``: ``backup``, ``drill`` and ``prune`` -> how the last one ended, ``failed: ...`` also when it is overdue;
        ``summary``: the ``repository`` and its ``snapshots``, newest first, with times of the course's zone.

    Raises:
        CommandExecutionError: the repository cannot be used.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.snapshots
    """
    return _backup("snapshots")


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
        CommandExecutionError: it was not there then (the sentence lists the snapshots that have it), or the repository
            cannot be used.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.restore ada ps1/problem1.ipynb at='yesterday 14:00'
    """
    words = [user, path] if path else [user]
    return _backup("restore", *words, options=[f"--at={at}"] if at else [], test=test)


def drill(test: bool = False) -> dict:
    """Restore files of the newest snapshot at random, and every database, and compare them; the hub does so each night.

    Args:
        test: only say what would be done.

    Returns:
        ``table``: ``files`` -> how many were restored and compared, or what failed -> ``failed: why``; ``summary``: the
        ``snapshot``.

    Raises:
        CommandExecutionError: there is no snapshot, or the repository cannot be used.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.drill
    """
    return _backup("drill", test=test)


def recover(at: str = "", test: bool = False) -> dict:
    """Bring the whole class from its backup to this hub, which must be new: see docs/howto/back-up-and-restore.md.

    Args:
        at: as of when, as in ``classhub.restore``; the newest snapshot.
        test: only say what would be done.

    Returns:
        ``table``: ``files`` and each database -> ``done: ...`` or ``failed: why``; ``summary``: what is ``next``.

    Raises:
        CommandExecutionError: a class lives on this hub already, an account is missing, or the repository cannot be
            used; nothing was restored.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.recover test=True
    """
    options = [f"--at={at}"] if at else []
    return _backup("recover", options=options, test=test, follow=True)


def _backup(
    verb: str, *arguments: str, options: list[str] = (), test: bool = False, follow: bool = False
) -> dict:
    return _report(verb, arguments, options, test, follow, package="classhub.backup")


def _course(
    verb: str, *arguments: str, options: list[str] = (), test: bool = False, follow: bool = False
) -> dict:
    return _report(verb, arguments, options, test, follow)


def _report(
    verb: str, arguments: tuple, options: list[str], test: bool, follow: bool, **package: str
) -> dict:
    """The report of a verb; that somebody failed makes the exit code, too."""
    report = __salt__["classhub_course.call"](
        verb, list(arguments), [*options, *(["--test"] if test else [])], follow=follow, **package
    )
    if report["summary"]["failed"]:
        __context__["retcode"] = 1
    return report
