"""Who may sign in: people on the roster, that is, accounts in one of the class's groups."""

import grp
import hmac
import pwd

from jupyterhub.auth import Authenticator
from traitlets import Bool, List, Unicode

FIRST_UID = 1000  # below are Debian's system accounts


def groups_of(username: str, groups: list[str]) -> list[str]:
    """Which of the groups a person's account is in; none for everybody who is not on the roster."""
    try:
        account = pwd.getpwnam(username)
    except KeyError:
        return []
    if account.pw_uid < FIRST_UID:
        return []
    return [group for group in groups if is_member(account, group)]


def is_member(account: pwd.struct_passwd, group: str) -> bool:
    try:
        entry = grp.getgrnam(group)
    except KeyError:
        return False
    return account.pw_gid == entry.gr_gid or account.pw_name in entry.gr_mem


class LabAuthenticator(Authenticator):
    """One password for everybody on the roster: for labs only."""

    password = Unicode(config=True, help="The password of everybody.")
    groups = List(Unicode(), config=True, help="System groups of the class.")
    public_certificate = Bool(
        False,
        config=True,
        help="Whether the class shows a real certificate, not a self-signed one.",
    )
    # what somebody may do beyond the own server comes with the group
    manage_groups = Bool(True)
    # who is allowed is decided here, not by JupyterHub's allow_* settings
    any_allow_config = Bool(True)

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
        """The user's name and groups; None, with one message for a wrong name and a wrong password alike."""
        username = self.normalize_username(data["username"].strip())
        right = hmac.compare_digest(data["password"].encode(), self.password.encode())
        groups = groups_of(username, self.groups)
        return {"name": username, "groups": groups} if right and groups else None

    async def check_allowed(self, username: str, authentication=None) -> bool:
        return bool(groups_of(username, self.groups))

    async def refresh_user(self, user, handler=None, **kwargs) -> dict | bool:
        """Groups as they are now; sign out who left the roster: every `auth_refresh_age` seconds and before each
        start."""
        groups = groups_of(user.name, self.groups)
        return {"name": user.name, "groups": groups} if groups else False
