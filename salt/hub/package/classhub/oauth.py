"""Sign-in with an account elsewhere: GitHub, or whatever class of JupyterHub's kind a class names.

Somebody proves there who has which login, and the roster says whose login it is. Nothing of it is kept but the number of
a GitHub account (classhub.identities): no token, no address. Every refusal is a sentence for the student, and a line for
the operator in the hub's log.
"""

import json
from http.client import responses
from pathlib import Path

from jupyterhub.auth import Authenticator, LocalAuthenticator
from jupyterhub.user import User
from jupyterhub.utils import maybe_future, new_token
from oauthenticator.github import GitHubOAuthenticator
from oauthenticator.oauth2 import OAuthCallbackHandler, OAuthenticator
from tornado import web
from tornado.httpclient import HTTPClientError
from traitlets import Unicode

from classhub import identities
from classhub.authenticator import Roster

STRANGER = (
    "The account {login} at {service} is not on the roster of this class. If you have another one, sign out of {service} "
    "and sign in with that. If not, tell the course staff which account is yours."
)
NOT_READY = (
    "You are on the roster, but the account {username} is not ready yet. Try again in a few minutes, or tell the "
    "course staff."
)
OTHER_ACCOUNT = (
    "{username} has signed in with another account at {service} before. If this one is your new one, ask the course staff "
    "to have the old one forgotten."
)
CONFLICT = (
    "You have signed in with this account at {service} as somebody else before: the roster has changed, or the account's "
    "name has. Tell the course staff."
)
DENIED = "You did not let {service} tell the class who you are. Sign in again, and allow it."
STALE = "This sign-in is too old, or was begun in another window. Sign in again."
SILENT = "{service} does not answer just now. Try again in a few minutes."
NOT_ACCEPTED = "{service} does not accept this class just now. Tell the course staff."
NO_ROSTER = "Nobody can sign in just now. Tell the course staff."

# RFC 6749, section 5.2, and GitHub's own word for it
OLD_CODES = ("invalid_grant", "bad_verification_code")
# what these classes raise about an answer that is not what it should be
ODD_ANSWERS = (ValueError, TypeError, KeyError, AttributeError)


class Refusal(web.HTTPError):
    """A sign-in that is refused, in words for the page."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, reason=responses[status])
        self.jupyterhub_message = message


class Elsewhere(Roster):
    """Lets in people on the roster who prove elsewhere which login they have."""

    logins_file = Unicode(
        "/etc/jupyterhub/logins.json",
        config=True,
        help="JSON file: login, in small letters -> username. Read at each sign-in.",
    )

    def refusal(self, status: int, message: str, told: str, *args: object, **words: str) -> Refusal:
        """A sentence for the student; the operator is told the rest in the log, with `args`."""
        (self.log.error if status >= 500 else self.log.warning)(f"Sign-in refused: {told}", *args)
        return Refusal(status, message.format(service=self.login_service, **words))

    async def authenticate(self, handler, data=None, **kwargs) -> dict | None:
        """What somebody has proved, under the username of the roster; None if nobody has proved anything.

        Raises:
            Refusal: somebody has, who may not sign in.
        """
        proved = await self.proved(handler, data)
        if not proved:
            return None
        login = proved["name"].lower()
        username = self.username_of(handler, login, proved)
        self.admit(login, username)
        return proved | {"name": username}

    async def proved(self, handler, data) -> dict | None:
        """What the class below says of whoever signs in."""
        proved = await maybe_future(super().authenticate(handler, data))
        return {"name": proved} if isinstance(proved, str) else proved

    async def check_allowed(self, username: str, authentication=None) -> bool:
        # the class below may refuse here, such as an address that is not verified; whom it allows does not matter
        await maybe_future(super(Roster, self).check_allowed(username, authentication))
        return await super().check_allowed(username, authentication)

    async def run_post_auth_hook(self, handler, auth_model: dict) -> dict | None:
        """The person: what was proved has served, and nothing of it is kept."""
        allowed = await super().run_post_auth_hook(handler, auth_model)
        person = self.person(allowed["name"])
        return person and person | {"admin": allowed["admin"]}

    def username_of(self, handler, login: str, proved: dict) -> str:
        username = self.logins().get(login)
        if not username:
            raise self.stranger(login)
        return username

    def logins(self) -> dict[str, str]:
        try:
            with open(self.logins_file, encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError) as error:
            raise self.refusal(503, NO_ROSTER, "%s: %s", self.logins_file, error) from error

    def admit(self, login: str, username: str) -> None:
        if self.person(username):
            return
        if username not in self.logins().values():
            raise self.stranger(login)
        told = "%r is on the roster as %s, which is no account of the class on this host"
        raise self.refusal(403, NOT_READY, told, login, username, username=username)

    def stranger(self, login: str) -> Refusal:
        return self.refusal(403, STRANGER, "%r is not on the roster", login, login=login)


class OAuth(Elsewhere):
    """The same for oauthenticator's classes, whose errors are pages that a student cannot read."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.callback_handler = type("Callback", (CallbackInWords, self.callback_handler), {})

    async def get_user_groups(self, auth_state: dict) -> set[str]:
        return set()  # a person's are those of the roster

    async def httpfetch(self, url: str, *args, **kwargs):
        answer = await super().httpfetch(url, *args, **kwargs)
        # GitHub says with status 200 that there is no token
        if url == self.token_url and isinstance(answer, dict) and answer.get("error"):
            raise self.no_token(answer["error"])
        return answer

    async def proved(self, handler, data) -> dict | None:
        try:
            return await super().proved(handler, data)
        except HTTPClientError as error:
            # 599 is that it took too long
            if error.code >= 500 or error.code == 429:
                raise self.refusal(503, SILENT, "%s: %s", self.login_service, error) from error
            raise self.no_token(error_of(error) or f"status {error.code}") from error
        except OSError as error:
            raise self.refusal(503, SILENT, "%s: %s", self.login_service, error) from error
        except (web.HTTPError, *ODD_ANSWERS) as error:
            if isinstance(error, Refusal):
                raise
            # its text can have a token in it
            told, kind = "%s answers oddly: %s", type(error).__name__
            raise self.refusal(503, SILENT, told, self.login_service, kind) from error

    def no_token(self, error: object) -> Refusal:
        if error in OLD_CODES:
            return self.refusal(400, STALE, "%s: the code is old or used", self.login_service)
        told = "%s does not accept the class, look at its client id and secret: %r"
        return self.refusal(503, NOT_ACCEPTED, told, self.login_service, error)


def error_of(error: HTTPClientError) -> object:
    """The word for an error in an answer of OAuth."""
    try:
        return json.loads(error.response.body)["error"]
    except (AttributeError, TypeError, ValueError, KeyError):
        return None


class CallbackInWords(OAuthCallbackHandler):
    """What comes back by way of the browser, which anybody can have made up: none of it is shown."""

    def check_arguments(self) -> None:
        refusal = self.authenticator.refusal
        error = self.get_argument("error", "")
        if error == "access_denied":
            raise refusal(403, DENIED, "consent was denied")
        if error:
            raise refusal(400, STALE, "the browser came back with error %r", error)
        try:
            super().check_arguments()
        except (web.HTTPError, ValueError, AttributeError) as fault:
            raise refusal(400, STALE, "no state of this browser: %s", fault) from fault


class GitHub(OAuth, GitHubOAuthenticator):
    """GitHub's accounts: known by their number from the first sign-in on, as their names change and change hands."""

    identities_file = Unicode(
        identities.FILE, config=True, help="JSON file: username -> number of the GitHub account."
    )

    def username_of(self, handler, login: str, proved: dict) -> str:
        number = proved["auth_state"][self.user_auth_state_key].get("id")
        if type(number) is not int:
            raise self.refusal(503, SILENT, "GitHub gives no number for %r", login)
        try:
            with identities.opened(self.identities_file) as known:
                before = dict(known)
                username = self.identified(login, str(number), known)
                if known != before and (user := handler.find_user(username)):
                    end_sessions(user)
                return username
        except (identities.Damaged, OSError) as error:
            raise self.refusal(503, NO_ROSTER, "identities cannot be kept: %s", error) from error

    def identified(self, login: str, number: str, known: dict[str, str]) -> str:
        """Whose account it is; the first that comes with a person's login is the person's."""
        username = self.logins().get(login)
        owner = next((name for name, other in known.items() if other == number), None)
        if owner and username not in (None, owner):
            told = "%r, account %s, is %s's by its number and %s's by the roster: classhub.forget_identity %s, if it is to be the latter's"
            raise self.refusal(403, CONFLICT, told, login, number, owner, username, owner)
        if owner:
            return owner
        if not username:
            raise self.stranger(login)
        if known.get(username):
            told = "%r is account %s now, and %s signed in with %s: classhub.forget_identity %s, if that is right"
            args = (login, number, username, known[username], username)
            raise self.refusal(403, OTHER_ACCOUNT, told, *args, username=username)
        self.admit(login, username)
        known[username] = number
        self.log.info("%s is account %s of GitHub (%r) from now on", username, number, login)
        return username

    async def refresh_user(self, user, handler=None, **kwargs) -> dict | bool:
        """As for everybody; and sign out whose account was forgotten, until the next sign-in."""
        try:
            number = identities.read(Path(self.identities_file)).get(user.name)
        except identities.Damaged as error:
            self.log.error("Who is signed in stays so: %s", error)
            number = None
        if number == identities.FORGOTTEN:
            self.log.warning("%s's account at GitHub was forgotten: the session ends", user.name)
            return False
        return await super().refresh_user(user, handler, **kwargs)


def end_sessions(user: User) -> None:
    """End what browsers and tokens can do in somebody's name; a server that runs keeps its own token.

    What JupyterHub knows of a person is the same for each of the person's sessions: who has begun one, it cannot tell.
    """
    user.orm_user.cookie_id = new_token()
    for token in list(user.orm_user.api_tokens):
        # JupyterHub's own mark
        if not (user.active and (token.note or "").startswith("Server at ")):
            user.db.delete(token)
    user.db.commit()


def on_roster(base: type[Authenticator]) -> type[Elsewhere]:
    """The class of that name, for people on the roster alone.

    Raises:
        ValueError: it asks for a password itself, or makes accounts.
    """
    if issubclass(base, GitHubOAuthenticator):
        raise ValueError("for GitHub there is hub:authenticator: github")
    local = not issubclass(base, Authenticator) or issubclass(base, LocalAuthenticator)
    if local or base.login_url is Authenticator.login_url:
        raise ValueError(f"{base.__name__} does not sign people in elsewhere")
    kind = OAuth if issubclass(base, OAuthenticator) else Elsewhere
    return type(f"Class{base.__name__}", (kind, base), {"__module__": __name__})
