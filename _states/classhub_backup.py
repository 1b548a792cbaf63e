"""The backup of the class does its work."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_backup"


def __virtual__():
    return __virtualname__


def watched(name: str) -> dict:
    """The last backup, prune and drill went well, and none is overdue; what did not is a warning.

    Args:
        name: a label for the output.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "The backup is well"}
    if __opts__["test"] and not __salt__["classhub_course.ready"]():
        return ret | {"comment": "The backup is still to come"}
    try:
        table = __salt__["classhub_course.call"]("health", package="classhub.backup")["table"]
    except CommandExecutionError as error:
        return ret | {"comment": str(error), "warnings": [f"The backup is not well: {error}"]}
    failed = {verb: told for verb, told in table.items() if told.startswith("failed")}
    warnings = [
        f"The backup is not well: {verb} {told}. See salt hub classhub.snapshots"
        for verb, told in failed.items()
    ]
    comment = "; ".join(f"{verb} {told}" for verb, told in (failed or table).items())
    return ret | {"comment": comment} | ({"warnings": warnings} if warnings else {})
