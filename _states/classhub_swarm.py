"""Docker Swarm membership: one manager, the hub; every node a worker."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_swarm"


def __virtual__():
    return __virtualname__


def _return(name: str, comment: str = "", result: bool | None = True, **changes: object) -> dict:
    return {"name": name, "result": result, "comment": comment, "changes": changes}


def _state() -> dict:
    """The host's swarm status; of a host whose engine is still to be installed: inactive."""
    try:
        return __salt__["classhub_swarm.status"]()
    except CommandExecutionError:
        if __opts__["test"]:
            return {"state": "inactive", "manager": False, "address": "", "managers": []}
        raise


def manager(name: str, address: str, address_pool: str) -> dict:
    """This host manages the class's swarm.

    Args:
        name: a label for the output.
        address: IPv4 address of this host on the class's network.
        address_pool: network from which Swarm takes ranges for its own networks.
    """
    try:
        now = _state()
        if now["state"] == "active" and not now["manager"]:
            return _return(
                name,
                f"This host is a worker of {', '.join(now['managers'])}; it cannot be the manager",
                False,
            )
        if now["state"] == "active" and now["address"] != address:
            return _return(
                name,
                f"The swarm's manager has the address {now['address']}, pillar says {address}",
                False,
            )
        if now["state"] == "active":
            return _tidy(name)
        if __opts__["test"]:
            return _return(name, "A swarm would be made", None, swarm=address)
        __salt__["classhub_swarm.init"](address, address_pool)
    except CommandExecutionError as error:
        return _return(name, str(error), False)
    return _return(name, "A swarm was made", swarm=address)


def _tidy(name: str) -> dict:
    """Remove what a host that was set up again left of its former self."""
    forgotten = __salt__["classhub_swarm.forgotten"]()
    if not forgotten:
        return _return(name, "This host manages the swarm")
    removed = sorted(member["host"] for member in forgotten)
    if __opts__["test"]:
        return _return(name, "Dead members would be removed", None, removed=removed)
    for member in forgotten:
        __salt__["classhub_swarm.remove"](member["id"])
    return _return(name, "Dead members were removed", removed=removed)


def worker(name: str, address: str, hub: str, hub_address: str, wait: int) -> dict:
    """This host is a worker of the hub's swarm.

    The join token comes over the mine, which lets only the class's nodes read it; it never shows in the result.

    Args:
        name: a label for the output.
        address: IPv4 address of this host on the class's network.
        hub: minion id of the hub.
        hub_address: IPv4 address of the hub.
        wait: seconds to wait for the hub's token.
    """

    def invited() -> dict | None:
        return __salt__["mine.get"](hub, "classhub_swarm_join").get(hub)

    try:
        now = _state()
        if now["state"] == "active" and not _outlived(now, hub_address, invited()):
            if any(member.split(":")[0] == hub_address for member in now["managers"]):
                return _return(name, f"This host is a worker of {hub}")
            return _return(
                name,
                f"This host is in another swarm ({', '.join(now['managers'])}); take it out first",
                False,
            )
        if __opts__["test"]:
            return _return(name, f"This host would join {hub}", None, swarm=hub)
        invitation = __utils__["classhub_wait.until"](invited, wait, f"the join token of {hub}")
        if not invitation:
            return _return(
                name, f"{hub} published no join token in {wait} s; apply the states of {hub}", False
            )
        if now["state"] == "active":
            __salt__["classhub_swarm.leave"]()
        __salt__["classhub_swarm.join"](address, invitation["address"], invitation["token"])
    except CommandExecutionError as error:
        return _return(name, str(error), False)
    return _return(name, f"This host joined {hub}", swarm=hub)


def _outlived(now: dict, hub_address: str, invitation: dict | None) -> bool:
    """Whether this worker's swarm is gone: the hub was set up again, at the same address, with a new one.

    Its servers are orphans then, and end; while any run, the host stays as it is.
    """
    if not invitation or not any(m.split(":")[0] == hub_address for m in now["managers"]):
        return False
    # a hub that has not been applied since says nothing of its authority
    if invitation.get("authority") in (None, __salt__["classhub_swarm.authority"]()):
        return False
    orphans = __salt__["classhub_engine.servers"]()
    if orphans:
        raise CommandExecutionError(
            f"The hub has a new swarm, but servers of the old one run here ({', '.join(orphans)}). Let their students "
            "save, then run `docker swarm leave` here, and apply again"
        )
    return True
