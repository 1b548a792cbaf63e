"""Tokens of the hub's services: the one of the settings, and none of before.

JupyterHub adds the token that its settings name, and keeps in its database what they named earlier: a token that was put
anew because somebody knows it would go on being good.
"""

from jupyterhub import orm
from sqlalchemy import delete, event
from sqlalchemy.engine import Connection

_OF_SETTINGS = "from config"  # JupyterHub's note at a token of its settings


def keep_one_token() -> None:
    """From now on, a service's new token takes the place of all that the settings had for it before."""

    def added(mapper: object, connection: Connection, token: orm.APIToken) -> None:
        if token.service_id is None or token.note != _OF_SETTINGS:
            return
        former = delete(orm.APIToken).where(
            orm.APIToken.service_id == token.service_id,
            orm.APIToken.note == _OF_SETTINGS,
            orm.APIToken.id != token.id,
        )
        connection.execute(former)

    event.listen(orm.APIToken, "after_insert", added)
