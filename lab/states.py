"""Applying the class's states to the lab's hosts, and telling what failed in words."""

from __future__ import annotations

import json
from typing import Any

from lab import master
from lab.common import LabError, say


def apply(ids: list[str], timeout: float = 5400) -> None:
    """Apply the class's states to the named minions; raise LabError with the failed states only."""
    targets = ["-L", ",".join(ids)]
    # Code edited since the minions started: states would sync it only after they are compiled.
    master.salt("salt", *targets, "saltutil.sync_all")
    # Never --static: that is batch mode, which forgets jobs longer than two minutes.
    out = master.salt("salt", "--out=json", *targets, "state.apply", check=False, timeout=timeout)
    returned = documents(out)
    failures = []
    for minion in ids:
        result = returned.get(minion, "did not return")
        failures += [f"{minion}: {text}" for text in failed(result)]
        if isinstance(result, dict):
            changed = sum(1 for state in result.values() if state.get("changes"))
            say(f"{minion}: {len(result)} states, {changed} with changes")
    if failures:
        raise LabError("applying the states failed:\n" + "\n".join(failures))


def documents(out: str) -> dict[str, Any]:
    """Merge the JSON documents that `salt` prints, one a minion, between lines that are no JSON."""
    returned: dict[str, Any] = {}
    decoder = json.JSONDecoder()
    start = 0
    while (start := out.find("{", start)) >= 0:
        try:
            document, start = decoder.raw_decode(out, start)
        except json.JSONDecodeError:
            start += 1
        else:
            returned |= document
    return returned


def failed(result: Any) -> list[str]:
    """What went wrong on one minion. A state that only waited for a failed one says nothing new."""
    if not isinstance(result, dict):
        lines = result if isinstance(result, list) else [result]
        return [str(line) for line in lines]
    texts = []
    for key, state in result.items():
        if state["result"] is not False or "__sls__" not in state:
            continue
        if str(state["comment"]).startswith("One or more requisite failed"):
            continue
        name = state.get("__id__", key)
        texts.append(f"{name} ({state['__sls__']}):\n    {state['comment']}")
    return texts or ["no state failed first, yet some did"] * any(
        state["result"] is False for state in result.values()
    )
