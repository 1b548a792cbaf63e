"""What an instructor says to the class, on the hub: ``salt hub classhub.<verb>``."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub"


def __virtual__():
    if "classhub" not in __pillar__:
        return (
            False,
            "this minion has no classhub pillar; is config/master.d/classhub.conf installed on the master?",
        )
    return __virtualname__


def hosts() -> dict[str, dict]:
    """The hosts of the class.

    Returns:
        minion id -> ``address`` and ``roles``.

    Raises:
        CommandExecutionError: the settings have faults; all of them are told.

    CLI Example:

    .. code-block:: bash

        salt hub classhub.hosts
    """
    faults = __pillar__["classhub"]["faults"]
    if faults:
        raise CommandExecutionError("this class's settings have faults:\n- " + "\n- ".join(faults))
    return {
        minion: {"address": host["address"], "roles": list(host["roles"])}
        for minion, host in __pillar__["classhub"]["hosts"].items()
    }
