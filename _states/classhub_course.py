"""The course's settings and nbgrader's exchange are those of the class, and everybody has what is released."""

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
    return _settled(name, "exchange", "The exchange {} laid out")


def welcomed(name: str) -> dict:
    """Who came to the class since the last time has been given what was released before.

    Args:
        name: a label for the output.
    """
    return _settled(name, "welcome", "What is released {} given to newcomers")


def _settled(name: str, verb: str, comment: str) -> dict:
    """A state by a verb of the course that is said first to find out, and again to do it."""
    test = __opts__["test"]
    ret = {"name": name, "changes": {}, "result": True, "comment": comment.format("is")}
    would = {"result": None, "comment": comment.format("would be")}
    if test and not __salt__["classhub_course.ready"]():
        return ret | would | {"changes": {name: "settled"}}
    try:
        report = __salt__[f"classhub_course.{verb}"](test=test)
    except CommandExecutionError as error:
        return ret | {"result": False, "comment": str(error)}
    table, shared = report["table"], report["summary"].get("course")
    ret["changes"] = {who: told for who, told in table.items() if told.startswith("done")}
    if shared:
        ret["changes"][name] = ", ".join(shared)
    failed = {who: told for who, told in table.items() if told.startswith("failed")}
    if failed:
        told = "; ".join(f"{who} {what}" for who, what in failed.items())
        return ret | {"result": False, "comment": told}
    if ret["changes"]:
        return ret | (would if test else {"comment": comment.format("was")})
    return ret
