"""What the operator of the whole class says: ``salt-run classhub.<verb>``."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

import salt.client
import salt.utils.event
from salt.exceptions import CommandExecutionError, NotImplemented

_HUB = "classhub:roles:hub"
_SILENT = (
    "Nothing was changed: {hosts} does not answer. Bring it up and accept its key, or take it out of pillar and delete "
    "its key (salt-key -d)"
)


class Refusal(CommandExecutionError, NotImplemented):
    """A sentence for the operator. Of NotImplemented because Salt prints the traceback of every other error."""


def deploy(test: bool = False) -> dict:
    """Bring the whole class to its settings, in order, with progress on the terminal.

    Runs the orchestration ``orch.deploy``. A student's running server is never stopped.

    Args:
        test: only say what would change.

    Returns:
        ``hosts``: minion id -> number of changes; ``seconds``.

    Raises:
        Refusal: a host does not answer (nothing was changed), or a stage failed.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.deploy
    """
    hosts = _everybody_answers()
    started = time.monotonic()
    with _progress(started):
        outcome = __salt__["state.orchestrate"]("orch.deploy", test=test)
    changes, failures = _summary(outcome)
    if failures:
        raise Refusal("The class was not deployed:\n- " + "\n- ".join(failures))
    return {
        "hosts": dict.fromkeys(hosts, 0) | changes,
        "seconds": round(time.monotonic() - started),
    }


def drain(node: str, stop: bool = False, test: bool = False) -> str:
    """Send new servers to other nodes; those that run here go on until they end.

    Args:
        node: minion id of the node.
        stop: stop the running servers, too: their students lose unsaved work and kernels.
        test: only say what would be done.

    Returns:
        one sentence.

    Raises:
        Refusal: there is no such living node, or the hub does not answer.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.drain node1
    """
    return _on_hub("classhub_swarm.availability", node, "drain" if stop else "pause", test=test)


def resume(node: str, test: bool = False) -> str:
    """Let a drained node take new servers again.

    Args:
        node: minion id of the node.
        test: only say what would be done.

    Returns:
        one sentence.

    Raises:
        Refusal: there is no such living node, or the hub does not answer.

    CLI Example:

    .. code-block:: bash

        salt-run classhub.resume node1
    """
    return _on_hub("classhub_swarm.availability", node, "active", test=test)


def _on_hub(function: str, *args: object, **kwargs: object) -> object:
    with salt.client.get_local_client(__opts__["conf_file"]) as client:
        answers = client.cmd(
            _HUB, function, args, kwarg=kwargs, tgt_type="pillar", full_return=True
        )
    if len(answers) != 1:
        raise Refusal(
            f"{len(answers)} hubs answered, not one; is the hub's minion up and its key accepted?"
        )
    hub, answer = answers.popitem()
    if not isinstance(answer, dict):
        raise Refusal(f"{hub} does not answer; look at salt-minion there")
    if answer.get("retcode"):
        raise Refusal(f"{hub}: {str(answer['ret']).removeprefix('ERROR: ')}")
    return answer["ret"]


def _everybody_answers() -> list[str]:
    """Minion ids of the class, all of which answer and know its present settings and code."""
    with salt.client.get_local_client(__opts__["conf_file"]) as client:
        ping = client.cmd("*", "test.ping", timeout=10, gather_job_timeout=10, full_return=True)
        # of a silent minion Salt says so in its place
        silent = sorted(minion for minion, answer in ping.items() if not _is_here(answer))
        if silent or not ping:
            raise Refusal(_SILENT.format(hosts=", ".join(silent) or "no host"))
        # a host that was added, or code that changed, since the minions last looked
        client.cmd("*", "saltutil.refresh_pillar", kwarg={"wait": True})
        client.cmd("*", "saltutil.sync_all")
        answers = client.cmd("*", "classhub.hosts", full_return=True)
    for minion, answer in sorted(answers.items()):
        if not isinstance(answer, dict) or answer.get("retcode"):
            told = answer["ret"] if isinstance(answer, dict) else answer
            raise Refusal(f"Nothing was changed: {minion}: {str(told).removeprefix('ERROR: ')}")
    known = {host for answer in answers.values() for host in answer["ret"]} | set(ping)
    missing = sorted(known - set(answers))
    if missing:
        raise Refusal(_SILENT.format(hosts=", ".join(missing)))
    return sorted(answers)


def _is_here(answer: object) -> bool:
    return isinstance(answer, dict) and answer.get("ret") is True


@contextlib.contextmanager
def _progress(started: float) -> Iterator[None]:
    """Print each job of the orchestration, and each host's answer, as it comes."""
    done = threading.Event()

    def follow() -> None:
        with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=True) as bus:
            while not done.is_set():
                event = bus.get_event(wait=1, tag="salt/job/", match_type="startswith", full=True)
                line = _line(event) if event else ""
                if line:
                    print(
                        f"{time.monotonic() - started:6.0f} s  {line}", file=sys.stderr, flush=True
                    )

    listener = threading.Thread(target=follow, daemon=True)
    listener.start()
    try:
        yield
    finally:
        done.set()
        listener.join(timeout=5)


def _line(event: dict) -> str:
    data = event["data"]
    if not str(data.get("fun", "")).startswith("state."):
        return ""
    if event["tag"].endswith("/new"):
        names = [arg for arg in data.get("arg", []) if isinstance(arg, str)] or ["all its states"]
        return f"{', '.join(data.get('minions', []))}: {', '.join(names)}"
    if "/ret/" in event["tag"]:
        states = data["return"].values() if isinstance(data.get("return"), dict) else []
        changed = sum(1 for state in states if state.get("changes"))
        return f"{data['id']}: {'done' if data.get('success') else 'FAILED'}, {changed} changes"
    return ""


def _summary(outcome: dict) -> tuple[dict[str, int], list[str]]:
    """Changes by host, and the comment of every state that failed, host by host."""
    changes: dict[str, int] = {}
    failures = []
    for stages in outcome["data"].values():
        if not isinstance(stages, dict):
            return {}, [str(stages)]
        for stage in sorted(stages.values(), key=lambda entry: entry.get("__run_num__", 0)):
            returned = stage.get("changes", {}).get("ret", {})
            for host, states in returned.items():
                if not isinstance(states, dict):
                    failures.append(f"{host}: {states}")
                    continue
                changes[host] = changes.get(host, 0) + sum(
                    1 for state in states.values() if state.get("changes")
                )
                failures += [
                    f"{host}: {state.get('__id__')}: {state['comment']}"
                    for state in states.values()
                    if state["result"] is False
                ]
            if stage["result"] is False and not returned:
                failures.append(f"{stage.get('__id__')}: {stage['comment']}")
    return changes, failures
