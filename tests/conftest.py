"""For all tests."""

import logging
import os

# pytest's plugins have loaded Python's own distutils; setuptools, which nbgrader imports, would refuse to start
os.environ["SETUPTOOLS_USE_DISTUTILS"] = "stdlib"


def pytest_unconfigure() -> None:
    """Salt's deferred log handlers write once more when Python ends, to streams that pytest has closed."""
    logging.raiseExceptions = False
