"""Who may sign in: people on the roster, that is, accounts in one of the class's groups."""

import grp
import hmac
import pwd

from jupyterhub.auth import Authenticator
from traitlets import Bool, List, Unicode

FIRST_UID = 1000  # below are Debian's system accounts


def on_roster(username: str, groups: list[str]) -> bool:
    """Whether this is the account of a person in one of the groups."""
    try:
        account = pwd.getpwnam(username)
    except KeyError:
        return False
    if account.pw_uid < FIRST_UID:
        return False
    return any(is_member(account, group) for group in groups)


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

    async def authenticate(self, handler, data: dict) -> str | None:
        """The user's name; None, with one message for a wrong name and a wrong password alike."""
        username = self.normalize_username(data["username"].strip())
        right = hmac.compare_digest(data["password"].encode(), self.password.encode())
        return username if right and on_roster(username, self.groups) else None

    async def check_allowed(self, username: str, authentication=None) -> bool:
        return on_roster(username, self.groups)

    async def refresh_user(self, user, handler=None, **kwargs) -> bool:
        """Sign out who left the roster: every `auth_refresh_age` seconds and before each start."""
        return on_roster(user.name, self.groups)
