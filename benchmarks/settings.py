"""The test project, and in it both sides: the app, and the minimal site."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks"]
ROOT_URLCONF = "benchmarks.urls"

SESSION_ATTACHMENTS_MAX_FILE_SIZE = 2048
SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 4096

# Beside the table, only what goes wrong.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler", "level": "ERROR"}},
    "root": {"handlers": ["console"]},
}
