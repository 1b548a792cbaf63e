"""The limits of the homes' filesystem are those of the class."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_quota"


def __virtual__():
    return __virtualname__


def applied(name: str) -> dict:
    """Everybody on the roster has the quota that pillar gives, and who left has none.

    Args:
        name: a label for the output.
    """
    test = __opts__["test"]
    ret = {"name": name, "changes": {}, "result": True, "comment": "Everybody has the right quota"}
    try:
        if test and not __salt__["classhub_course.ready"]():
            given = __salt__["classhub_quota.limits"]()
            ret["changes"] = {who: "quota" for who, one in given.items() if any(one["limits"])}
        else:
            ret["changes"] = __salt__["classhub_quota.apply"](test=test)["table"]
    except CommandExecutionError as error:
        return ret | {"result": False, "comment": str(error)}
    unseen = {who: told for who, told in ret["changes"].items() if told.startswith("skipped")}
    if unseen:
        who, told = next(iter(unseen.items()))
        ret["changes"] = {}
        ret["warnings"] = [f"{len(unseen)} people, such as {who}: {told.removeprefix('skipped: ')}"]
        return ret | {"comment": "Nobody is to have a quota"}
    failed = {who: told for who, told in ret["changes"].items() if told.startswith("failed")}
    if failed:
        told = "; ".join(f"{who} {what}" for who, what in failed.items())
        return ret | {"result": False, "comment": told}
    if ret["changes"]:
        number = len(ret["changes"])
        would = {"result": None, "comment": f"{number} people would get other quotas"}
        return ret | (would if test else {"comment": f"{number} people got other quotas"})
    return ret
