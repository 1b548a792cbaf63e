"""Publish one value over Salt's mine to named minions, only when it has changed."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_mine"


def __virtual__():
    return __virtualname__


def published(name: str, function: str, readers: list[str]) -> dict:
    """``readers`` find the answer of ``function`` in this minion's mine under ``name``.

    Args:
        name: the name in the mine.
        function: execution function without arguments whose answer is published. Its value is never shown.
        readers: minion ids that may read it.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{name} is published"}
    mine = __opts__["id"]
    readers = sorted({mine, *readers})
    try:
        value = __salt__[function]()
    except (CommandExecutionError, OSError) as error:
        if __opts__["test"]:
            return ret | {
                "result": None,
                "changes": {name: "published"},
                "comment": f"{name} would be published",
            }
        return ret | {"result": False, "comment": str(error)}
    if value is not None and __salt__["mine.get"](mine, name).get(mine) == value:
        return ret
    ret["changes"] = {name: f"published to {', '.join(readers)}"}
    if __opts__["test"]:
        return ret | {"result": None, "comment": f"{name} would be published"}
    __salt__["mine.send"](
        name, mine_function=function, allow_tgt=",".join(readers), allow_tgt_type="list"
    )
    return ret | {"comment": f"{name} was published"}
