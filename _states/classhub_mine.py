"""Publish one value over Salt's mine to named minions, only when it or they have changed."""

import functools

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
    readers = ",".join(sorted({mine, *readers}))
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
    # the mine does not tell who may read a value, so the readers are published beside it
    there = [__salt__["mine.get"](mine, key).get(mine) for key in (name, f"{name}_readers")]
    if value is not None and there == [value, readers]:
        return ret
    ret["changes"] = {name: f"published to {readers.replace(',', ', ')}"}
    if __opts__["test"]:
        return ret | {"result": None, "comment": f"{name} would be published"}
    send = functools.partial(__salt__["mine.send"], allow_tgt=readers, allow_tgt_type="list")
    # the readers last: without them, the next run publishes both again
    if not (
        send(name, mine_function=function)
        and send(f"{name}_readers", readers, mine_function="test.echo")
    ):
        comment = f"{name} could not be published; the minion's log says why"
        return ret | {"result": False, "changes": {}, "comment": comment}
    return ret | {"comment": f"{name} was published"}
