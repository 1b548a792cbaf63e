"""Answers to the master that no other minion can give."""

import logging

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)


def answer(nonce: str, function: str, args: list | tuple = (), kwargs: dict | None = None) -> dict:
    """Call a function, and sign what it returns.

    Args:
        nonce: of who asks; it is in what is signed.
        function: such as classhub.status.
        args: for it.
        kwargs: for it.

    Returns:
        ``text``, which has the nonce, what the function returned and its exit code, and its ``signature``, both as
        bytes. What the function raises is in it.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_signed.answer 7d3a classhub.status '[hw3]'
    """
    try:
        if function not in __salt__:
            raise CommandExecutionError(f"'{function}' is not available.")
        ret, retcode = __salt__[function](*args, **(kwargs or {})), __context__.get("retcode", 0)
    except CommandExecutionError as error:
        ret, retcode = f"ERROR: {error}", 1
    except Exception as error:  # whatever it is: unsigned, it would look like a forgery
        log.exception("%s failed", function)
        ret, retcode = f"ERROR: {function}: {type(error).__name__}: {error}", 1
    __context__["retcode"] = retcode
    return __utils__["classhub_signed.sign"](__opts__, str(nonce), ret, retcode)
