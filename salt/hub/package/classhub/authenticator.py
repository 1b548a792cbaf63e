"""Who may sign in: people on the roster, that is, accounts in one of the class's groups.

`Roster` is what every authenticator of a class has; `LabAuthenticator` here and those of classhub.oauth add how somebody
proves who it is.
"""

import grp
import hmac
import pwd

from jupyterhub.auth import Authenticator
from traitlets import Bool, Dict, Unicode

FIRST_UID = 1000  # below are Debian's system accounts


def roles_of(username: str, groups: dict[str, str]) -> list[str]:
    """The roles of a person by the groups of the account; none for everybody who is not on the roster.

    Args:
        username: of the account
        groups: role -> system group of its people
    """
    try:
        account = pwd.getpwnam(username)
    except KeyError:
        return []
    if account.pw_uid < FIRST_UID:
        return []
    return [role for role, group in groups.items() if is_member(account, group)]


def is_member(account: pwd.struct_passwd, group: str) -> bool:
    try:
        entry = grp.getgrnam(group)
    except KeyError:
        return False
    # not by the primary group: an account that is called as a group of the host can have been given that
    return account.pw_name in entry.gr_mem


class Roster(Authenticator):
    """Lets in who is on the roster, and nobody else, with the groups of the role."""

    groups = Dict(Unicode(), config=True, help="Role -> system group of its people.")
    # what somebody may do beyond the own server comes with the group
    manage_groups = Bool(True)
    # who is allowed is decided here, not by JupyterHub's allow_* settings
    any_allow_config = Bool(True)

    def person(self, username: str) -> dict | None:
        """JupyterHub's model of somebody on the roster, with uid and role as auth state; None for everybody else."""
        roles = roles_of(username, self.groups)
        if not roles:
            return None
        return {
            "name": username,
            "groups": sorted(self.groups[role] for role in roles),
            "auth_state": {"uid": pwd.getpwnam(username).pw_uid, "role": " ".join(roles)},
        }

    async def check_allowed(self, username: str, authentication=None) -> bool:
        return bool(roles_of(username, self.groups))

    async def refresh_user(self, user, handler=None, **kwargs) -> dict | bool:
        """Groups and role as they are now; sign out who left the roster: every `auth_refresh_age` seconds and before
        each start. The uid stays that of the sign-in, with which the spawner compares the account's."""
        person = self.person(user.name)
        if not person:
            self.log.warning("%s is not on the roster any more: the session ends", user.name)
            return False
        known = await user.get_auth_state() or {}
        if "uid" in known:
            person["auth_state"]["uid"] = known["uid"]
        return person


class LabAuthenticator(Roster):
    """One password for everybody on the roster: for labs only."""

    password = Unicode(config=True, help="The password of everybody.")
    public_certificate = Bool(
        False,
        config=True,
        help="Whether the class shows a real certificate, not a self-signed one.",
    )

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        if self.public_certificate:
            raise ValueError(
                "The lab authenticator, one password for everybody, is refused in a class with a "
                "real certificate (proxy:certificate): set hub:authenticator to another one."
            )
        if not self.password:
            raise ValueError("The lab authenticator needs hub:lab_password.")

    async def authenticate(self, handler, data: dict) -> dict | None:
        """The person; None, with one message for a wrong name and a wrong password alike."""
        person = self.person(self.normalize_username(data["username"].strip()))
        right = hmac.compare_digest(data["password"].encode(), self.password.encode())
        return person if right else None
