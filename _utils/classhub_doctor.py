"""What the hosts of a class say of themselves, beside each other. Pure functions."""

_SKEW = 2.0  # seconds by which clocks may differ: sign-in elsewhere and certificates go by them


def finding(check: str, result: str, told: str, todo: str = "") -> dict[str, str]:
    """One check: ``check``, ``result`` (ok, warning, failed), ``told`` and ``todo``."""
    return {"check": check, "result": result, "told": told, "todo": todo}


def sentence(found: dict[str, str]) -> str:
    """A check as one line: ``ok: told``, or ``failed: told. To do: todo``."""
    todo = f". To do: {found['todo']}" if found["todo"] else ""
    return f"{found['result']}: {found['told'].strip().rstrip('.')}{todo}"


def clock(told: float, asked: float, answered: float) -> dict[str, str]:
    """A host's clock beside the master's.

    Args:
        told: the host's time, in seconds since 1970.
        asked, answered: the master's, before the question and after the answer.
    """
    off = min(told - asked, 0.0) or max(told - answered, 0.0)
    if abs(off) <= _SKEW:
        return finding("clock", "ok", "it is that of the master")
    todo = "timedatectl set-ntp true, or look at the site's time server"
    kind = "ahead of" if off > 0 else "behind"
    return finding("clock", "failed", f"it is {abs(off):.0f} s {kind} the master's", todo)


def compared(facts: dict[str, dict], hub: str, salt: str) -> dict[str, list[dict[str, str]]]:
    """What hosts must have in common with the hub and the master.

    Args:
        facts: minion id -> ``salt`` (its version), of nodes ``images``, of the hub ``image``, of both ``filesystem``;
            None where a host could not find it out, which a check of its own tells.
        hub: minion id of the hub; empty if it does not answer.
        salt: the master's version.

    Returns:
        minion id -> checks.
    """
    wanted = facts.get(hub, {})
    return {host: _beside(host, known, hub, wanted, salt) for host, known in facts.items()}


def _beside(host: str, known: dict, hub: str, wanted: dict, salt: str) -> list[dict[str, str]]:
    found = []
    if known["salt"] != salt:
        todo = f"bootstrap.sh on {host}, as docs/howto/production.md says"
        told = f"it is {known['salt']}, the master's is {salt}"
        found.append(finding("salt version", "warning", told, todo))
    if known.get("images") is not None and wanted.get("image"):
        found.append(_image(host, known["images"], wanted["image"]))
    if host != hub and known.get("filesystem") and wanted.get("filesystem"):
        found.append(_filesystem(host, known["filesystem"] == wanted["filesystem"]))
    return found


def _image(host: str, images: list[str], image: str) -> dict[str, str]:
    if image in images:
        return finding("image", "ok", "it has the image that servers run")
    todo = f"salt {host} state.apply image"
    told = f"it lacks {image[:19]}..., the image that servers run"
    return finding("image", "failed", told, todo)


def _filesystem(host: str, same: bool) -> dict[str, str]:
    if same:
        return finding("homes", "ok", "/home is the hub's")
    todo = f"on {host}: findmnt /home; then salt {host} state.apply storage"
    return finding("homes", "failed", "/home is not the hub's", todo)
