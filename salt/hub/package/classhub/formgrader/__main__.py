"""The formgrader's server: nbgrader's pages alone, of a Jupyter server nothing else.

There are no kernels, terminals or files to edit. Who somebody is comes from the hub (JUPYTERHUB_* in the
environment), the course from its settings.
"""

import argparse
import asyncio
import os
import secrets
from pathlib import Path

from jupyter_server.auth import AllowAllAuthorizer
from jupyterhub.log import log_request
from jupyterhub.services.auth import HubOAuth
from jupyterhub.singleuser.extension import (
    JupyterHubIdentityProvider,
    JupyterHubOAuthCallbackHandler,
)
from nbgrader.server_extensions.formgrader.formgrader import FormgradeExtension
from tornado.log import enable_pretty_logging
from tornado.web import Application

from classhub.course import settings
from classhub.formgrader import handlers, notebook


class Course(FormgradeExtension):
    """nbgrader, set up for the course it is started in."""

    root_dir = None

    @property
    def url_prefix(self) -> str:
        return "."  # of links to files, which are not served


def application(config: Path) -> Application:
    """The web application of the course.

    Args:
        config: the course's settings.
    """
    config = config.resolve()
    os.chdir(settings.load(config).course_dir)  # where nbgrader looks for its configuration
    course = Course(debug=False)  # otherwise a page shows nbgrader's whole configuration
    course.initialize([])
    identity = JupyterHubIdentityProvider(hub_auth=HubOAuth(cache_max_age=60))
    base_url = identity.hub_auth.base_url
    callback = ("/oauth_callback", JupyterHubOAuthCallbackHandler, {"hub_auth": identity.hub_auth})
    routes = [callback, *handlers.routes()]
    return Application(
        [(base_url.rstrip("/") + pattern, *rest) for pattern, *rest in routes],
        base_url=base_url,
        course_config=config,
        identity_provider=identity,
        authorizer=AllowAllAuthorizer(identity_provider=identity),
        allow_remote_access=True,  # by the hub's proxy, under the class's name
        cookie_secret=secrets.token_bytes(32),  # after a restart browsers ask the hub anew
        log_function=log_request,
        nbgrader_formgrader=course,
        nbgrader_authenticator=course.authenticator,
        nbgrader_exporter=notebook.Exporter(config=course.config),
        nbgrader_gradebook=None,
        nbgrader_jinja2_env=handlers.environment(),
        nbgrader_bad_setup=False,
        initial_config=course.config,
    )


async def serve(config: Path, port: int) -> None:
    application(config).listen(port, "127.0.0.1", xheaders=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="classhub.formgrader", description=__doc__)
    parser.add_argument("--config", type=Path, default=settings.FILE, help="settings, as JSON")
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    arguments = parser.parse_args()
    enable_pretty_logging()
    asyncio.run(serve(arguments.config, arguments.port))


if __name__ == "__main__":
    main()
