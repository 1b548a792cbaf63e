"""Secrets that are made on the host that needs them and never leave it.

No value is in pillar, in a result or in a comment.
"""

import re
import secrets
from pathlib import Path

from salt.exceptions import SaltInvocationError

__virtualname__ = "classhub_secrets"

LINE = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)=(.*)$")
RANDOM_BYTES = 32


def __virtual__():
    return __virtualname__


def generated(
    name: str, keys: list[str], user: str = "root", group: str = "root", mode: str = "0600"
) -> dict:
    """An environment file has a random value for each key; values that are there are kept.

    Keys that the file has besides these stay too. To change a secret: ``classhub_secrets.rotate``.

    Args:
        name: path of the file, lines of KEY=value.
        keys: names of the secrets; each is 64 hexadecimal digits.
        user, group, mode: of the file.
    """
    for key in keys:
        if not LINE.match(f"{key}="):
            raise SaltInvocationError(f"{key!r} cannot be the name of an environment variable")
    path = Path(name)
    values = _read(path)
    missing = [key for key in keys if not values.get(key)]
    values |= {key: secrets.token_hex(RANDOM_BYTES) for key in missing}
    text = "".join(f"{key}={value}\n" for key, value in values.items())
    made = dict.fromkeys(missing, "generated")
    return _written(path, text if missing else None, made, (user, group, mode))


def copied(
    name: str,
    source: str,
    key: str,
    prefix: str = "",
    user: str = "root",
    group: str = "root",
    mode: str = "0600",
) -> dict:
    """A file holds one secret of an environment file, and a newline.

    Args:
        name: path of the file.
        source: path of the environment file.
        key: name of the secret in it.
        prefix: text before the secret.
        user, group, mode: of the file.
    """
    path = Path(name)
    value = _read(Path(source)).get(key)
    if not value and not __opts__["test"]:
        comment = f"{source} has no {key}"
        return {"name": name, "changes": {}, "result": False, "comment": comment}
    text = f"{prefix}{value}\n"
    same = path.exists() and path.read_text(encoding="utf-8") == text
    made = {} if same else {key: "copied"}
    return _written(path, None if same else text, made, (user, group, mode))


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(match.groups() for match in map(LINE.match, lines) if match)


def _written(path: Path, text: str | None, made: dict, owner: tuple[str, str, str]) -> dict:
    """The result of a state that writes `text`, if any, and puts owner and mode right."""
    ret = {"name": str(path), "changes": dict(made), "result": True, "comment": f"{path} is right"}
    if text is None and __utils__["classhub_file.owner"](str(path)) != owner:
        ret["changes"]["owner"] = " ".join(owner)
    if not ret["changes"]:
        return ret
    what = ", ".join(ret["changes"])
    if __opts__["test"]:
        return ret | {"result": None, "comment": f"{path} would be written: {what}"}
    try:
        kept = path.read_text(encoding="utf-8") if text is None else text
        __utils__["classhub_file.write"](str(path), kept, *owner)
    except (OSError, LookupError) as error:
        return ret | {"changes": {}, "result": False, "comment": f"{path}: {error}"}
    return ret | {"comment": f"{path} was written: {what}"}
