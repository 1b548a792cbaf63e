"""The certificates of the class: the one that students see, and those between the proxy and the hub."""

import os
from pathlib import Path

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_certificate"
_SHOWN = Path("/etc/classhub/nginx/tls")
_AUTHORITIES = Path("/etc/classhub/ca")
# the one that signs now, and the one that takes its place: the proxy trusts both
AUTHORITIES = ("current.pem", "next.pem")


def __virtual__():
    return __virtualname__


def shown() -> dict:
    """The certificate that nginx shows on this host.

    Returns:
        ``names``, ``issuer``, ``self_signed``, ``begins`` and ``ends`` (UTC), ``days_left``, ``fingerprint``
        (SHA-256), ``key_fits``, and ``is_for_domain``: whether it is for the class's domain.

    Raises:
        CommandExecutionError: there is none, or it cannot be read.

    CLI Example:

    .. code-block:: bash

        salt proxy classhub_certificate.shown
    """
    try:
        texts = [(_SHOWN / name).read_text(encoding="utf-8") for name in ("class.crt", "class.key")]
        told = __utils__["classhub_certificate.described"](*texts)
    except (OSError, ValueError) as error:
        raise CommandExecutionError(
            f"this host shows no certificate: {error}; apply the states of the proxy"
        ) from error
    domain = __pillar__["classhub"]["domain"]
    return told | {"is_for_domain": __utils__["classhub_certificate.is_for"](domain, told["names"])}


def authorities() -> str:
    """The certificates of the hub's own authority, for the mine: the one in use, and the one that follows it.

    Returns:
        PEM text, without their keys.

    Raises:
        CommandExecutionError: there is none; apply the states of the hub.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_certificate.authorities
    """
    try:
        texts = [(_AUTHORITIES / name).read_text(encoding="utf-8") for name in AUTHORITIES]
    except OSError as error:
        raise CommandExecutionError(f"this host has no authority: {error}") from error
    return "".join(map(__utils__["classhub_certificate.public"], texts))


def replace_authority() -> None:
    """Put the authority that follows in the place of the hub's own. For ``classhub_secrets.rotate``.

    The proxy trusts it already. The next run of the hub's states issues a certificate by it and makes the one that
    follows; the next run of the proxy's ends the trust in the old one.

    Raises:
        CommandExecutionError: none follows; apply the states of the hub.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_certificate.replace_authority
    """
    current, following = (_AUTHORITIES / name for name in AUTHORITIES)
    try:
        os.replace(following, current)
    except OSError as error:
        raise CommandExecutionError(
            f"no authority follows: {error}; apply the states of the hub first"
        ) from error
