"""Measure the app and the minimal site in turn, and print their medians."""

import argparse
import os
import tempfile
from contextlib import ExitStack, nullcontext
from functools import partial

import django

from tests import services

DATABASES = {
    "sqlite": partial(nullcontext, {}),
    "postgresql": services.postgresql,
    "mariadb": services.mariadb,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="what has this in its title"
    )
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="session-attachments-")
        )
        variables = stack.enter_context(DATABASES[options.database]())
        os.environ |= variables | {
            "TEST_ROOT": folder,
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "GUNICORN_CMD_ARGS": "--log-level=warning",
        }
        django.setup()
        from . import measure

        measure.run(options.only)


if __name__ == "__main__":
    main()
