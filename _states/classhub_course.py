"""The course's settings and nbgrader's exchange are those of the class."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_course"


def __virtual__():
    return __virtualname__


def described(name: str, course_dir: str, exchange: str, store: str) -> dict:
    """A file has the settings of the course, for root alone.

    Args:
        name: the file.
        course_dir: nbgrader's course.
        exchange: directory of nbgrader's exchange.
        store: the sealed submissions.
    """
    try:
        dataset = __salt__["classhub_course.settings"](course_dir, exchange, store)
    except CommandExecutionError as error:
        return {"name": name, "changes": {}, "result": False, "comment": str(error)}
    return __states__["file.serialize"](
        name,
        dataset=dataset,
        serializer="json",
        user="root",
        group="root",
        mode="0600",
        makedirs=True,
    )


def exchanged(name: str) -> dict:
    """Everybody on the roster has a part of the exchange, with the right owners and modes.

    Args:
        name: a label for the output.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "The exchange is laid out"}
    test = __opts__["test"]
    if test and not __salt__["classhub_course.ready"]():
        comment = "The exchange would be laid out"
        return ret | {"result": None, "changes": {name: "laid out"}, "comment": comment}
    try:
        report = __salt__["classhub_course.exchange"](test=test)
    except CommandExecutionError as error:
        return ret | {"result": False, "comment": str(error)}
    table, shared = report["table"], report["summary"]["course"]
    ret["changes"] = {who: told for who, told in table.items() if told.startswith("done")}
    if shared:
        ret["changes"][name] = ", ".join(shared)
    failed = {who: told for who, told in table.items() if told.startswith("failed")}
    if failed:
        told = "; ".join(f"{who} {what}" for who, what in failed.items())
        return ret | {"result": False, "comment": told}
    if ret["changes"]:
        words = "would be" if test else "was"
        return ret | {"result": None if test else True, "comment": f"The exchange {words} laid out"}
    return ret
