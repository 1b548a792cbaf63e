"""Secrets of the hub, put anew. No value is shown, and no old one is kept."""

import re
import secrets
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "classhub_secrets"
_FILE = Path("/etc/jupyterhub/secrets.env")
_COOKIE = Path("/var/lib/jupyterhub/cookie_secret")
_RANDOM_BYTES = 32
_PAUSE = "Nobody can sign in or start a server for some seconds; running servers are not disturbed."
# name -> key in the file, units that restart, whom that disturbs
_SECRETS = {
    "cookie": (
        "",
        ["jupyterhub"],
        f"Everybody has to sign in again. {_PAUSE}",
    ),
    "proxy": (
        "CONFIGPROXY_AUTH_TOKEN",
        ["jupyterhub-proxy", "jupyterhub"],
        f"Every student's connection drops for about a second, and notebooks connect again. {_PAUSE}",
    ),
    "operator": ("CLASSHUB_ADMIN_TOKEN", ["jupyterhub"], _PAUSE),
    "culler": ("CLASSHUB_CULLER_TOKEN", ["jupyterhub"], _PAUSE),
    "doctor": ("CLASSHUB_DOCTOR_TOKEN", ["jupyterhub"], _PAUSE),
    "proxy-sync": ("CLASSHUB_PROXY_SYNC_TOKEN", ["jupyterhub"], _PAUSE),
    "formgrader": ("CLASSHUB_FORMGRADER_TOKEN", ["jupyterhub", "classhub-formgrader"], _PAUSE),
    "dashboard": ("CLASSHUB_DASHBOARD_TOKEN", ["jupyterhub", "classhub-dashboard"], _PAUSE),
    "crypt": ("JUPYTERHUB_CRYPT_KEY", ["jupyterhub"], _PAUSE),
    "authority": ("", [], "Nobody: the proxy trusts the new authority already."),
}


def __virtual__():
    return __virtualname__


def rotate(name: str, test: bool = False) -> dict:
    """Put one of the hub's secrets anew. The next run of the hub's states brings it to where it is used: apply at once.

    Until then what runs goes on with the old one. A rotation that is cut short leaves the old or the new one, whole.

    Args:
        name: ``cookie``, ``proxy``, ``operator``, ``culler``, ``doctor``, ``proxy-sync``, ``formgrader``,
            ``dashboard``, ``crypt`` (whose old key can still be read with, until the next rotation) or ``authority``
            (of the TLS between proxy and hub).
        test: only say what it would mean.

    Returns:
        ``changed``: whether it was; ``restarts``: units that the next run restarts; ``disturbs``: whom, in a sentence;
        ``then``: what to say next, in this order.

    Raises:
        SaltInvocationError: there is no such secret.
        CommandExecutionError: this host has no such secret, or it cannot be written.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_secrets.rotate proxy test=True
        salt hub classhub_secrets.rotate proxy
        salt hub state.apply
    """
    if name not in _SECRETS:
        raise SaltInvocationError(f"{name!r} is not one of {', '.join(_SECRETS)}")
    key, restarts, disturbs = _SECRETS[name]
    try:
        if name == "authority":
            if not test:
                __salt__["classhub_certificate.replace_authority"]()
        elif name == "cookie":
            _put(_COOKIE, _random() + "\n", test)
        else:
            _put(_FILE, _anew(_FILE.read_text(encoding="utf-8"), key), test)
    except (OSError, LookupError) as error:
        raise CommandExecutionError(
            f"{name}: {error}; apply the states of the hub first"
        ) from error
    hosts = [__opts__["id"]]
    if name == "authority":
        hosts.append(__pillar__["classhub"]["proxy_host"]["id"])
    return {
        "changed": not test,
        "restarts": restarts,
        "disturbs": disturbs,
        "then": [f"salt {host} state.apply" for host in dict.fromkeys(hosts)],
    }


def _anew(text: str, key: str) -> str:
    """The environment file with another value of a key; of the crypt key the one before stays as the second."""
    line = re.search(rf"^{key}=(.+)$", text, re.MULTILINE)
    if not line:
        raise LookupError(f"{_FILE} has no {key}")
    former = f";{line[1].split(';')[0]}" if key == "JUPYTERHUB_CRYPT_KEY" else ""
    return f"{text[: line.start()]}{key}={_random()}{former}{text[line.end() :]}"


def _put(path: Path, text: str, test: bool) -> None:
    """Replace a file whole, with the owner and mode that it has."""
    owner = __utils__["classhub_file.owner"](str(path))
    if not test:
        __utils__["classhub_file.write"](str(path), text, *owner)


def _random() -> str:
    return secrets.token_hex(_RANDOM_BYTES)
