"""A service has one token: one that was put anew ends what was before it."""

import pytest

import tests.support.hub  # noqa: F401  isort: skip

from classhub.tokens import keep_one_token  # isort: skip
from jupyterhub import orm, roles

FORMER, ANEW = "a" * 64, "b" * 64


@pytest.fixture(scope="module", autouse=True)
def kept():
    keep_one_token()


@pytest.fixture
def database():
    with orm.new_session_factory("sqlite:///:memory:")() as session:
        for role in roles.get_default_roles():
            roles.create_role(session, role)
        session.add_all(orm.Service(name=name) for name in ("operator", "culler"))
        session.add(orm.User(name="ada"))
        session.add(
            orm.OAuthClient(identifier="jupyterhub")
        )  # what tokens that are asked for are of
        session.commit()
        yield session


def add(database, owner, token, note="from config"):
    owner.new_api_token(token, note=note, generated=False)
    database.commit()


def test_a_token_that_was_put_anew_ends_the_one_before(database):
    operator = orm.Service.find(database, "operator")
    add(database, operator, FORMER)
    add(database, operator, ANEW)
    assert orm.APIToken.find(database, FORMER) is None
    assert orm.APIToken.find(database, ANEW).service is operator


def test_tokens_of_others_stay(database):
    add(database, orm.Service.find(database, "culler"), "c" * 64)
    add(database, orm.User.find(database, "ada"), "d" * 64)
    operator = orm.Service.find(database, "operator")
    add(database, operator, "e" * 64, note="asked for")
    add(database, operator, ANEW)
    assert all(orm.APIToken.find(database, letter * 64) for letter in "cde")
