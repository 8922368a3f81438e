"""What to do when the database lets two transactions collide: all of it again."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import IntegrityError, OperationalError, connections

from .exceptions import Busy

logger = logging.getLogger("session_attachments")

T = TypeVar("T")

ATTEMPTS = 20

#: Seconds after which nothing is tried again: each attempt may wait for as long as the
#: database lets it, and whoever waits for the answer has a server with a time limit.
PATIENCE = 5


class Collision(Exception):
    """Another transaction was faster; raised by an operation to be called again."""


def retrying(operation: Callable[[], T], *, using: str) -> T:
    """Call `operation`, a whole transaction, until it does not collide.

    Inside a transaction of the caller's there is one attempt: what collided there
    can only be repeated by the caller. Raises `Busy` when it never came through.
    """
    connection = connections[using]
    attempts = 1 if connection.in_atomic_block else ATTEMPTS
    began = time.monotonic()
    for attempt in range(attempts):
        if attempt:
            if time.monotonic() - began > PATIENCE:
                break
            time.sleep(random.uniform(0, 0.01 * min(2**attempt, 32)))  # noqa: S311
            connection.close_if_unusable_or_obsolete()
        try:
            return operation()
        except (Collision, IntegrityError, OperationalError) as error:
            cause = error
    # What is wrong for good, such as a missing table, looks no different from here.
    logger.warning("An operation of the database was given up", exc_info=cause)
    raise Busy from cause
