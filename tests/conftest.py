"""For all tests."""

import logging


def pytest_unconfigure() -> None:
    """Salt's deferred log handlers write once more when Python ends, to streams that pytest has closed."""
    logging.raiseExceptions = False
