"""The Docker Engine's packages, held. Salt's own ``pkg.held`` predicts nothing with ``test=True``."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_engine"


def __virtual__():
    return __virtualname__


def held(name: str, packages: list[str]) -> dict:
    """Nothing upgrades the packages by itself (``apt-mark hold``).

    Args:
        name: what it is called in the output.
        packages: Debian packages, installed by another state.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "The packages are held"}
    try:
        known = __salt__["pkg.get_selections"](state="hold").get("hold", [])
        missing = [package for package in packages if package not in known]
        if not missing:
            return ret
        ret["changes"] = dict.fromkeys(missing, "held")
        if __opts__["test"]:
            return ret | {"result": None, "comment": "The packages would be held"}
        told = __salt__["pkg.hold"](pkgs=missing)
    except CommandExecutionError as error:
        return ret | {"result": False, "changes": {}, "comment": str(error)}
    failed = [answer["comment"] for answer in told.values() if answer.get("result") is False]
    if failed:
        return ret | {"result": False, "changes": {}, "comment": "; ".join(failed)}
    return ret | {"comment": "The packages were held"}
