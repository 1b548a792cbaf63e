"""A newer JupyterHub at the database of an older one: a copy of it is kept, and people's tokens hold."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.class_hub import ClassHub
from tests.support.loading import ROOT

OLD = "5.2.1"  # whose database has other tables than that of the class's
PLACE = ROOT / ".cache" / f"jupyterhub-{OLD}"  # without what it needs: that is beside the newer one
# a hub of then, with somebody who has a token
BEFORE = """
import sys
from jupyterhub import orm, roles
session = orm.new_session_factory("sqlite:///" + sys.argv[1])()
user = orm.User(name="ada")
session.add(user)
session.add(orm.OAuthClient(identifier="jupyterhub"))
session.commit()
for role in roles.get_default_roles():
    roles.create_role(session, role)
roles.assign_default_roles(session, user)
user.new_api_token(sys.argv[2])
"""
TOKEN = "d" * 64


@pytest.fixture(scope="module")
def old() -> Path:
    """Where the older JupyterHub is."""
    if not (PLACE / "jupyterhub").is_dir():
        install = ["install", "-q", "--no-deps", "--target", PLACE, f"jupyterhub=={OLD}"]
        subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    return PLACE


def revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as base:
        return base.execute("select version_num from alembic_version").fetchone()[0]


def test_the_database_of_an_older_hub(old, tmp_path):
    hub = ClassHub(tmp_path)
    path = hub.state / "jupyterhub.sqlite"
    older = os.environ | {"PYTHONPATH": str(old)}
    subprocess.run([sys.executable, "-c", BEFORE, path, TOKEN], check=True, env=older)
    before = revision(path)
    hub.add("ada", 20001, "students")
    try:
        hub.start({"authenticator": "lab", "lab_password": "lab"})
        headers = {"Authorization": f"token {TOKEN}"}
        with hub.session() as session:
            answer = session.get(f"{hub.url}/hub/api/user", headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["name"] == "ada"
    finally:
        hub.close()
    assert revision(path) != before, "both versions have the same tables: name an older one"
    (kept,) = hub.state.glob("jupyterhub.sqlite.*")
    assert revision(kept) == before
