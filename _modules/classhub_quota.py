"""How much each person of the class may have in /home, on the hub."""

import json

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_quota"


def __virtual__():
    return __virtualname__


def limits() -> dict[str, dict]:
    """What pillar gives each person of the roster.

    Returns:
        username -> ``uid`` and ``limits``: KiB that a person may have, and may not pass; the same of files. 0 is none.

    Raises:
        CommandExecutionError: the roster contradicts the ledger or the host.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_quota.limits
    """
    # how many leave is judged where they do
    planned = __salt__["classhub_roster.plan"](drops=len(__salt__["classhub_roster.ledger"]()))
    if planned["faults"]:
        raise CommandExecutionError("Nobody has a quota:\n- " + "\n- ".join(planned["faults"]))
    settings = __pillar__["classhub"]
    return __utils__["classhub_quota.limits"](
        settings["people"],
        planned["ledger"],
        settings["storage"]["quota"],
        __utils__["classhub_settings.size"],
    )


def apply(test: bool = False) -> dict:
    """Set everybody's limits in the filesystem, all at once. Limits that the class has not set stay.

    Args:
        test: only say what would be done.

    Returns:
        ``table``: username -> ``done: ...`` or ``failed: why``, for everybody for whom there was something to do.

    Raises:
        CommandExecutionError: somebody is to have a quota, and the filesystem keeps none: one sentence says what to do.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_quota.apply test=True
    """
    return __salt__["classhub_course.call"](
        "quotas",
        options=["--test"] if test else [],
        data=json.dumps(limits()),
        package="classhub.disk",
    )
