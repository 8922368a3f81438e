"""What all tests share: clean folders, live servers, and a run without skips."""

import os
import shutil
from contextlib import ExitStack

import django
import pytest
from django.conf import settings

from tests import servers, services

REQUIRE_SERVICES = bool(os.environ.get("REQUIRE_SERVICES"))


def pytest_configure():
    for folder in settings.FOLDERS.values():
        folder.mkdir(parents=True)


def pytest_unconfigure():
    shutil.rmtree(settings.TEST_ROOT)


@pytest.fixture(autouse=True)
def clean_folders():
    """Nothing appears beside the test project's folders; these are empty again."""
    yield
    expected = {*settings.FOLDERS.values(), *settings.TEST_ROOT.glob("*.sqlite3*")}
    strays = set(settings.TEST_ROOT.iterdir()) - expected
    contents = (
        path for folder in settings.FOLDERS.values() for path in folder.iterdir()
    )
    for path in [*contents, *strays]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    assert not strays, "a file appeared outside of the folders"


@pytest.fixture
def live_processes(transactional_db):
    """Start servers: `live_processes("wsgi", SOME_SETTING=1)` returns a Server."""
    with ExitStack() as stack:

        def start(kind, **replaced):
            return stack.enter_context(servers.run(kind, **replaced))

        yield start


@pytest.fixture
def wsgi_server(live_processes):
    """gunicorn with two sync workers."""
    return live_processes("wsgi")


@pytest.fixture
def asgi_server(live_processes):
    """uvicorn."""
    return live_processes("asgi")


@pytest.fixture(params=sorted(servers.COMMANDS))
def server(request, live_processes):
    """Each kind of server in turn."""
    return live_processes(request.param)


@pytest.fixture(scope="session")
def redis_url():
    """A Redis of our own, for instance as Celery's broker."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(services.redis())
        except services.MissingError as missing:
            pytest.skip(str(missing))
        yield url


def pytest_collection_modifyitems(config, items):
    """Leave out, rather than skip, what this version of Django does not have."""
    too_new = [
        item
        for item in items
        if any(
            mark.args > django.VERSION[:2] for mark in item.iter_markers("django_from")
        )
    ]
    if too_new:
        config.hook.pytest_deselected(items=too_new)
        items[:] = [item for item in items if item not in too_new]


def pytest_collection_finish(session):
    """xdist keeps the tests of a group in one process: two would start each server."""
    if session.config.getoption("loadgroup", False):
        for item in session.items:
            assert "@" in item.nodeid or not item.get_closest_marker("xdist_group")


def _refuse_skip(report):
    """With REQUIRE_SERVICES a skip is a failure that says its reason."""
    if REQUIRE_SERVICES and report.skipped and not hasattr(report, "wasxfail"):
        *_place, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_SERVICES forbids to skip this. {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return _refuse_skip((yield))
