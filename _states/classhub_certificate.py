"""Certificates: the hub's own authority and what it issues, and the one that students see."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_certificate"
_MINE = "classhub_hub_authorities"
_RENEWED = 30  # days before its end from which a certificate of the authority is issued anew
_FAULTS = (OSError, LookupError, ValueError, CommandExecutionError)


def __virtual__():
    return __virtualname__


# -- between the proxy and the hub -----------------------------------------------------------------------------------


def authority(name: str) -> dict:
    """The hub has an authority of its own, and the one that follows it.

    That one is trusted long before it signs: so a rotation is one rename, and cuts nobody.

    Args:
        name: directory of current.pem and next.pem, each a certificate and its key.
    """
    missing = [file for file in ("current.pem", "next.pem") if not Path(name, file).exists()]
    return _done(
        name,
        dict.fromkeys(missing, "made"),
        lambda: [
            __utils__["classhub_file.write"](
                f"{name}/{file}", __utils__["classhub_certificate.authority"]()
            )
            for file in missing
        ],
    )


def issued(
    name: str, authority: str, subject: str, user: str = "root", group: str = "root"
) -> dict:
    """A file has a certificate of the authority, and its key.

    Args:
        name: path of the file.
        authority: path of the authority's file.
        subject: host name that the certificate is for.
        user, group: of the file, which has mode 0600.
    """
    try:
        why = _why_anew(Path(name), Path(authority), subject, (user, group, "0600"))
    except _FAULTS as error:
        return _failed(name, error)
    return _done(
        name,
        {Path(name).name: f"issued: {why}"} if why else {},
        lambda: __utils__["classhub_file.write"](
            name,
            __utils__["classhub_certificate.issue"](
                Path(authority).read_text(encoding="utf-8"), subject
            ),
            user,
            group,
        ),
    )


def _why_anew(path: Path, signer: Path, subject: str, owner: tuple[str, str, str]) -> str:
    """Why a certificate has to be issued; empty if it is good."""
    if not path.exists() or not signer.exists():  # in test mode the authority may be still to come
        return "it was not there"
    text = path.read_text(encoding="utf-8")
    with contextlib.suppress(ValueError):
        told = __utils__["classhub_certificate.described"](text, text)
        if not __utils__["classhub_certificate.is_issued_by"](
            text, signer.read_text(encoding="utf-8")
        ):
            return "the authority is another"
        if told["days_left"] < _RENEWED:
            return f"it had {told['days_left']} days left"
        if told["names"] != [subject]:
            return f"it was for {', '.join(told['names'])}"
        if __utils__["classhub_file.owner"](str(path)) != owner:
            return "its owner or mode was another"
        return ""
    return "it could not be read"


def trusted(name: str, hub: str, wait: int) -> dict:
    """A file has the certificates of the hub's authorities, which come over the mine.

    Args:
        name: path of the file.
        hub: minion id of the hub.
        wait: seconds to wait for them, where the file is not there yet.
    """

    def published() -> str | None:
        return __salt__["mine.get"](hub, _MINE).get(hub)

    path = Path(name)
    there = path.read_text(encoding="ascii") if path.exists() else ""
    patience = 0 if there or __opts__["test"] else wait
    bundle = __utils__["classhub_wait.until"](published, patience, f"the authority of {hub}")
    if not bundle and not there and not __opts__["test"]:
        return _failed(name, f"{hub} published no authority in {wait} s; apply the states of {hub}")
    return _done(
        name,
        {} if there and bundle in (there, None) else {path.name: f"authorities of {hub}"},
        lambda: __utils__["classhub_file.write"](name, bundle, mode="0644"),
    )


# -- what students see -----------------------------------------------------------------------------------------------


def watched(name: str, domain: str, warn_days: int) -> dict:
    """The certificate that nginx shows is for the domain, has its key, and does not end soon.

    Args:
        name: directory of class.crt and class.key.
        domain: of the class.
        warn_days: days before its end from which a warning says so.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    if __opts__["test"] and not Path(name, "class.crt").exists():
        return ret | {"comment": "The certificate is still to come"}
    try:
        told = __salt__["classhub_certificate.shown"]()
    except CommandExecutionError as error:
        return _failed(name, error)
    ends = f"{told['ends'][:10]} ({told['days_left']} days)"
    if told["days_left"] < 0:
        return _failed(name, f"The certificate of {domain} has expired: {ends}. Browsers refuse it")
    if not told["is_for_domain"]:
        named = ", ".join(told["names"]) or "no name"
        return _failed(name, f"The certificate is for {named}, not for {domain}")
    if not told["key_fits"]:
        return _failed(name, "class.key does not belong to class.crt: nginx will not start again")
    if told["days_left"] < warn_days:
        return ret | {
            "comment": f"The certificate ends on {ends}",
            "warnings": [f"The certificate of {domain} ends on {ends}. Renew it."],
        }
    return ret | {"comment": f"The certificate is good until {ends}"}


def obtained(name: str, config: str, directory: str, live: str, deploy: str, shown: str) -> dict:
    """nginx shows a certificate of an ACME authority. Where it has one that is good, the authority is not asked.

    nginx must run: the authority looks for its challenge there.

    Args:
        name: domain of the class.
        config: path of certbot's configuration.
        directory: address of the authority's ACME directory.
        live: certbot's directory of the current certificate and key.
        deploy: path of the command that brings them to nginx.
        shown: path of the certificate that nginx shows.
    """
    try:
        why = _why_obtain(name, Path(live), directory)
        same = not why and _same(Path(shown), Path(live, "fullchain.pem"))
    except _FAULTS as error:
        return _failed(name, error)
    if same:
        return _done(name, {}, lambda: None)
    if why:
        changes = {name: f"obtained from {directory}: {why}"}
        return _done(name, changes, lambda: _obtain(name, config))
    return _done(name, {name: "brought to nginx"}, lambda: _deploy(deploy, live))


def _why_obtain(domain: str, live: Path, directory: str) -> str:
    """Why a certificate has to be asked for; empty if there is a good one of this authority."""
    if not (live / "fullchain.pem").exists():
        return "there was none"
    renewal = live.parent.parent / "renewal" / f"{live.name}.conf"
    lines = renewal.read_text(encoding="utf-8").split("\n") if renewal.exists() else []
    if f"server = {directory}" not in lines:
        return "it was of another authority"
    told = __utils__["classhub_certificate.described"](
        (live / "fullchain.pem").read_text(encoding="ascii")
    )
    if not __utils__["classhub_certificate.is_for"](domain, told["names"]):
        return "it was for another name"
    return "it had expired" if told["days_left"] < 0 else ""


def _same(one: Path, other: Path) -> bool:
    return one.exists() and one.read_bytes() == other.read_bytes()


def _obtain(domain: str, config: str) -> None:
    """Ask the authority once; certbot then runs the deploy hook itself."""
    environment = Path(config).with_name("environment")
    lines = environment.read_text(encoding="utf-8").splitlines() if environment.exists() else []
    done = __salt__["cmd.run_all"](
        ["certbot", "certonly", "--config", config, "--domain", domain, "--force-renewal"],
        env=dict(line.split("=", 1) for line in lines if "=" in line),
        python_shell=False,
    )
    if done["retcode"]:
        raise CommandExecutionError(
            f"certbot got no certificate; the class goes on with the one that it has. {domain} must lead to this host, "
            "and its port 80 must be open to the authority. An authority limits failures per hour: mend it before you "
            f"apply again. certbot says:\n{done['stdout']}\n{done['stderr']}".rstrip()
        )


def _deploy(command: str, live: str) -> None:
    done = __salt__["cmd.run_all"]([command], env={"RENEWED_LINEAGE": live}, python_shell=False)
    if done["retcode"]:
        raise CommandExecutionError(f"{command} failed: {done['stderr']}")


def _done(name: str, changes: dict, act: Callable[[], object]) -> dict:
    """The result of a state that acts if there is something to change."""
    ret = {"name": name, "changes": changes, "result": True, "comment": f"{name} is right"}
    if not changes:
        return ret
    what = ", ".join(f"{key} {value}" for key, value in changes.items())
    if __opts__["test"]:
        return ret | {"result": None, "comment": f"Would be changed: {what}"}
    try:
        act()
    except _FAULTS as error:
        return _failed(name, error)
    return ret | {"comment": f"Changed: {what}"}


def _failed(name: str, error: object) -> dict:
    return {"name": name, "changes": {}, "result": False, "comment": str(error)}
