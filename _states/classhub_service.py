"""Services that run with their current settings, whenever those were written.

Salt's ``watch`` restarts a service only in the run that changes its settings: a run that is killed or fails in between
leaves it on the old ones for ever. Here the service's start is compared with the age of what it reads.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_service"
_WAITS = (
    "{paths} changed, but students' servers run here, so {name} was not restarted. Run "
    "`salt-run classhub.drain <this host>`, wait until they have ended, and apply again."
)
_DONE = {"start": "started", "restart": "restarted", "reload": "reloaded", "enable": "enabled"}


def __virtual__():
    return __virtualname__


def running(
    name: str, reads: list[str] | None = None, rereads: list[str] | None = None, spares: str = ""
) -> dict:
    """The service is enabled, runs, and has read its settings.

    Args:
        name: the service's unit.
        reads: files and directories that it reads at its start: newer ones restart it.
        rereads: those that it reads again at a reload: newer ones reload it.
        spares: execution function without arguments; while it returns anything, the service is not restarted, and a
            warning says so.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{name} runs with its settings"}
    try:
        needed, paths = _needed(name, reads or [], rereads or [])
        if needed == "restart" and spares and __salt__[spares]():
            return ret | {"warnings": [_WAITS.format(name=name, paths=", ".join(paths))]}
        if not needed:
            return ret
        ret["changes"] = {name: " after ".join(filter(None, (_DONE[needed], ", ".join(paths))))}
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"{name} would be {_DONE[needed]}"}
        _do(name, needed)
    except (CommandExecutionError, OSError) as error:
        return ret | {"result": False, "changes": {}, "comment": str(error)}
    return ret | {"comment": f"{name} was {_DONE[needed]}"}


def _needed(name: str, reads: list[str], rereads: list[str]) -> tuple[str, list[str]]:
    """What has to be done to the service ("" for nothing), and the paths that ask for it."""
    if not __salt__["service.available"](name):
        if __opts__["test"]:
            return "start", []
        raise CommandExecutionError(f"There is no service {name}; is its package installed?")
    if not __salt__["service.status"](name):
        return "start", []
    for action, paths, reloads in (("restart", reads, False), ("reload", rereads, True)):
        stale = __salt__["classhub_service.stale"](name, paths, reloads=reloads) if paths else []
        if stale:
            return action, stale
    return ("", []) if __salt__["service.enabled"](name) else ("enable", [])


def _do(name: str, action: str) -> None:
    if not __salt__["service.enabled"](name) and not __salt__["service.enable"](name):
        raise CommandExecutionError(f"{name} could not be enabled; see systemctl status {name}")
    if action != "enable" and not __salt__[f"service.{action}"](name):
        raise CommandExecutionError(f"{name} did not {action}; see journalctl -u {name}")
