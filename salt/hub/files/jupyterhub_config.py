# JupyterHub's configuration (managed by Salt): the package `classhub` sets everything from
# classhub.json.
#
# Site-specific Python goes into jupyterhub_config.d/*.py, which is read last, in the order of
# names, and never touched by Salt.
from pathlib import Path

from classhub.config import configure

here = Path("/etc/jupyterhub")
configure(get_config(), here / "classhub.json")  # noqa: F821
for extra in sorted((here / "jupyterhub_config.d").glob("*.py")):
    load_subconfig(str(extra))  # noqa: F821
