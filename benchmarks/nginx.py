"""nginx sending a file for Django, beside nginx sending the same file by itself.

    python -m benchmarks.nginx

Both in turn, from one nginx with the configuration of docs/nginx.md.
"""

import os
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from statistics import median
from time import perf_counter

from tests import memory, webservers

from .client import BLOCK, Client

MB = 2**20
SIZE = 100
REPETITIONS = 25
GOAL = 0.95

LIST = "/attachments/benchmark/"
SETTINGS = f"\nSESSION_ATTACHMENTS_MAX_FILE_SIZE = {SIZE}\n"
BY_ITSELF = """
    location /by-itself/ {
        alias /srv/example/attachments/;
    }
"""


class Page(webservers.Page):
    """The page, with another way to the same files."""

    def __getitem__(self, language: str) -> str:
        text = super().__getitem__(language)
        if language == "nginx":
            text = text.replace("server {\n", f"server {{\n{BY_ITSELF}", 1)
        return text


def main() -> None:
    # The client has a processor of its own, as if it were on another machine: else it
    # shares one with nginx whenever Django was in between.
    client_cpu, *server_cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, server_cpus or [client_cpu])
    page = Page("nginx.md")
    server = partial(webservers.nginx, page=page)
    with webservers.serve(page["python"] + SETTINGS, server) as site:
        session_key = _store(site)
        os.sched_setaffinity(0, [client_cpu])
        [path] = site.files()
        key = path.relative_to(site.attachments)
        client = partial(Client, *site.visitors, session_key)
        ours, theirs = client(f"{LIST}file/"), client(f"/by-itself/{key}")
        _seconds(theirs), _seconds(ours)  # the first time is different
        before = memory.peak(site.django.pids)
        pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(REPETITIONS)]
        after = memory.peak(site.django.pids)
    for_django, by_itself = (median(side) for side in zip(*pairs, strict=True))
    print(f"for Django {SIZE / for_django:,.0f} MB/s", end=", ")
    print(f"by itself {SIZE / by_itself:,.0f} MB/s")
    print(f"ratio {by_itself / for_django:.2f} (goal {GOAL})", end=", ")
    print(f"Django takes {(for_django - by_itself) * 1000:.1f} ms")
    print(f"Django's memory: {before / MB:.0f} MB before, {after / MB:.0f} MB after")


def _store(site: webservers.Site) -> str:
    """Store the file, and return its visitor's session key."""
    with closing(HTTPConnection(*site.visitors)) as connection:
        connection.request("PUT", f"{LIST}file/", bytes(BLOCK) * SIZE)
        cookies = SimpleCookie(connection.getresponse().headers["Set-Cookie"])
        return cookies["sessionid"].value


def _seconds(client: Client) -> float:
    start = perf_counter()
    received = client.list()
    seconds = perf_counter() - start
    assert received > SIZE * MB, "that was not all of the file"
    return seconds


if __name__ == "__main__":
    main()
