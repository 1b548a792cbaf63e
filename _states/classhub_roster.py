"""The hub's accounts are those of the roster."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_roster"


def __virtual__():
    return __virtualname__


def applied(name: str, drops: int = 0) -> dict:
    """Everybody on the roster has an account, a pinned uid, groups, and a home of mode 0700; who left is locked, and
    the home archived.

    Args:
        name: a label for the output.
        drops: how many people may leave at once; ``roster:drops`` may in any case.
    """
    ret = {
        "name": name,
        "changes": {},
        "result": True,
        "comment": "Everybody on the roster has an account",
    }
    try:
        planned = __salt__["classhub_roster.plan"](drops)
        if planned["faults"]:
            comment = "The roster was not applied:\n- " + "\n- ".join(planned["faults"])
            return ret | {"result": False, "comment": comment}
        todo = planned["people"] | planned["left"]
        if not todo:
            return ret
        if __opts__["test"]:
            comment = f"{len(todo)} people would be settled"
            return ret | {"result": None, "changes": todo, "comment": comment}
        ret["changes"] = __salt__["classhub_roster.apply"](drops)
    except CommandExecutionError as error:
        return ret | {"result": False, "comment": str(error)}
    failed = [person for person, what in ret["changes"].items() if what.startswith("failed")]
    ret["comment"] = f"{len(ret['changes']) - len(failed)} people were settled"
    if failed:
        ret |= {"result": False, "comment": f"{ret['comment']}; failed for {', '.join(failed)}"}
    return ret
