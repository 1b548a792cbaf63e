"""The hub's accounts are those of the roster."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_roster"


def __virtual__():
    return __virtualname__


def applied(name: str) -> dict:
    """Everybody on the roster has an account, a pinned uid, groups, and a home of mode 0700.

    Args:
        name: a label for the output.
    """
    ret = {
        "name": name,
        "changes": {},
        "result": True,
        "comment": "Everybody on the roster has an account",
    }
    try:
        planned = __salt__["classhub_roster.plan"]()
        if planned["faults"]:
            comment = "The roster was not applied:\n- " + "\n- ".join(planned["faults"])
            return ret | {"result": False, "comment": comment}
        if not planned["people"]:
            return ret
        if __opts__["test"]:
            comment = f"{len(planned['people'])} people would be settled"
            return ret | {"result": None, "changes": planned["people"], "comment": comment}
        ret["changes"] = __salt__["classhub_roster.apply"]()
    except CommandExecutionError as error:
        return ret | {"result": False, "comment": str(error)}
    failed = [person for person, what in ret["changes"].items() if what.startswith("failed")]
    ret["comment"] = f"{len(ret['changes']) - len(failed)} people were settled"
    if failed:
        ret |= {"result": False, "comment": f"{ret['comment']}; failed for {', '.join(failed)}"}
    return ret
