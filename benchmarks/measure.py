"""Both sides in turn, their medians, and the table."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from statistics import median

from django.conf import settings
from django.db import connection

from tests import memory, servers

from .cases import CASES, GB, MB, Case, Work
from .client import Client

#: How long one case is repeated, and how often at most.
SECONDS, MOST = 20, 50

LINE = "{:28}{:>14}{:>14}{:>8}{:>6}"


def run(only: str) -> None:
    """Measure and print the cases that have this text in their title."""
    for folder in settings.FOLDERS.values():
        folder.mkdir()
    with _database():
        session = import_module(settings.SESSION_ENGINE).SessionStore()
        session["owner"] = "somebody"
        session.create()
        with servers.run("wsgi") as server:
            address = server.host, server.port, session.session_key
            ours, theirs = Client(*address, "/ours/b/"), Client(*address, "/theirs/")
            print(LINE.format("", "ours", "Django's", "ratio", "goal"))
            for case in CASES:
                if only in case.title:
                    print(_line(case, ours, theirs), flush=True)
        if only in "memory":
            print(_memory(session.session_key))


@contextmanager
def _database() -> Iterator[None]:
    name = str(connection.settings_dict["NAME"])
    connection.creation.create_test_db(verbosity=0)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


def _line(case: Case, ours: Client, theirs: Client) -> str:
    if case.least > 1:  # the first time is different
        _seconds(case.ours, ours)
        _seconds(case.theirs, theirs)
    pairs: list[tuple[float, float]] = []
    end = time.monotonic() + SECONDS
    while len(pairs) < case.least or (len(pairs) < MOST and time.monotonic() < end):
        pairs.append((_seconds(case.ours, ours), _seconds(case.theirs, theirs)))
    speeds = [case.amount / median(side) for side in zip(*pairs, strict=True)]
    return LINE.format(
        case.title,
        *(f"{speed:,.0f} {case.unit}" for speed in speeds),
        f"{speeds[0] / speeds[1]:.2f}",
        case.goal or "",
    )


def _seconds(work: Work, site: Client) -> float:
    steps = work(site)
    next(steps)
    start = time.perf_counter()
    next(steps)
    seconds = time.perf_counter() - start
    next(steps, None)
    return seconds


def _memory(session_key: str) -> str:
    """The most that any process of a new server had, after small and large files."""
    with servers.run("wsgi") as server:
        site = Client(server.host, server.port, session_key, "/ours/b/")
        peaks = []
        for size, times in (MB, 4), (GB, 1):  # small ones for each worker
            for _ in range(times):
                site.put("file", size)
                site.get("file")
                site.post("file", size)
            site.clear()
            peaks.append(memory.peak(server.pids) / MB)
    return "resident memory: {:.0f} MB after 1 MB files, {:.0f} after 1 GB".format(
        *peaks
    )
