"""Keep the Docker Engine running with its current settings, without taking students' servers down."""

import os

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_engine"
_WAITS = (
    "{settings} changed, but students' servers run here, so {name} was not restarted. Run "
    "`salt-run classhub.drain <this host>`, wait until they have ended, and apply again."
)


def __virtual__():
    return __virtualname__


def running(name: str, settings: str) -> dict:
    """The engine's service is enabled and runs with ``settings``.

    A node's engine takes its students' servers with it when it restarts (Swarm has no live restore), so new settings
    wait, with a warning, while a student's server runs here.

    Args:
        name: the engine's unit.
        settings: its settings file, managed by another state.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{name} runs with {settings}"}
    if not __salt__["service.available"](name):
        if __opts__["test"]:
            return ret | {
                "result": None,
                "changes": {name: "started"},
                "comment": f"{name} would be started",
            }
        return ret | {
            "result": False,
            "comment": f"There is no service {name}; is its package installed?",
        }
    try:
        action, wanted = _needed(name, settings)
        if wanted:
            ret["changes"] = {name: wanted}
            if __opts__["test"]:
                return ret | {"result": None, "comment": f"{name} would be {wanted}"}
            __salt__["service.enable"](name)
            if not __salt__[f"service.{action}"](name):
                return ret | {
                    "result": False,
                    "changes": {},
                    "comment": f"{name} did not {action}; see journalctl -u {name}",
                }
            ret["comment"] = f"{name} was {wanted}"
        elif action == "wait":
            ret["warnings"] = [_WAITS.format(settings=settings, name=name)]
    except (CommandExecutionError, OSError) as error:
        return ret | {"result": False, "comment": str(error)}
    return ret


def _needed(name: str, settings: str) -> tuple[str, str]:
    """(service function, its past tense); ("wait", "") when only students' servers stand in the way."""
    if not __salt__["service.status"](name):
        return "start", "started"
    if not os.path.exists(settings) or not __salt__["classhub_engine.needs_restart"](
        name, settings
    ):
        return ("enable", "") if __salt__["service.enabled"](name) else ("start", "enabled")
    if __salt__["classhub_engine.servers"]():
        return "wait", ""
    return "restart", "restarted"
