"""The dashboard as a service of JupyterHub: `python -m classhub.dashboard --port <port>`.

Reads one file, which `classhub.pull_activity` writes, and nothing else of the class. Where it is in the hub comes from
JUPYTERHUB_* in the environment.
"""

import argparse
import asyncio
import os
import secrets
from pathlib import Path

from jupyterhub.log import log_request
from tornado.log import enable_pretty_logging
from tornado.web import Application

from classhub.activity.database import STATE
from classhub.dashboard.handlers import HERE, routes


def application(state: Path) -> Application:
    """The web application.

    Args:
        state: the file that says how the class is
    """
    return Application(
        routes(os.environ["JUPYTERHUB_SERVICE_PREFIX"]),
        state=state,
        template_path=str(HERE / "templates"),
        cookie_secret=secrets.token_bytes(32),  # after a restart browsers ask the hub anew
        log_function=log_request,
    )


async def serve(state: Path, port: int) -> None:
    application(state).listen(port, "127.0.0.1", xheaders=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="classhub.dashboard", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("/srv/stats/db") / STATE)
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    arguments = parser.parse_args()
    enable_pretty_logging()
    asyncio.run(serve(arguments.state, arguments.port))


if __name__ == "__main__":
    main()
