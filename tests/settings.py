"""The test project: Django's own defaults, and one folder for all that it writes.

What differs between two runs comes from the environment, so that a server which a
test starts shares the test's database and folder:

TEST_DATABASE       sqlite (default), postgresql or mariadb
TEST_DATABASE_*     NAME, HOST, PORT, USER, PASSWORD of that database
TEST_ROOT           the folder for everything written (default: a new one, which
                    tests/conftest.py makes and removes)
TEST_SETTINGS       a JSON object of settings that replace those below
"""

import json
import os
import secrets
import tempfile
from pathlib import Path

TEST_ROOT = Path(
    os.environ.get("TEST_ROOT")
    or Path(tempfile.gettempdir(), f"session-attachments-{secrets.token_hex(8)}")
)
# The folders below TEST_ROOT that tests may write to; emptied after each test.
FOLDERS = {
    name: TEST_ROOT / name
    for name in ("attachments", "cache", "media", "sessions", "uploads")
}

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "Europe/Vienna"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "session_attachments",
    "tests.mailbox",
]

# No CsrfViewMiddleware: a test that is about CSRF adds it.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

ROOT_URLCONF = "tests.urls"
WSGI_APPLICATION = "tests.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASE = os.environ.get("TEST_DATABASE", "sqlite")
DATABASES = {
    "default": {
        # A file, which threads and processes share, and Django's default options.
        "sqlite": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": TEST_ROOT / "db.sqlite3",
            "TEST": {"NAME": TEST_ROOT / "test.sqlite3"},
        },
        "postgresql": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "attachments",
        },
        "mariadb": {
            "ENGINE": "django.db.backends.mysql",
            "NAME": "attachments",
            "OPTIONS": {"charset": "utf8mb4"},
            "TEST": {"CHARSET": "utf8mb4"},
        },
    }[DATABASE]
    | {
        key: os.environ[f"TEST_DATABASE_{key}"]
        for key in ("NAME", "HOST", "PORT", "USER", "PASSWORD")
        if f"TEST_DATABASE_{key}" in os.environ
    }
}

# On disk, so that the workers of one server share it.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": FOLDERS["cache"],
    }
}
SESSION_FILE_PATH = FOLDERS["sessions"]

STATIC_URL = "static/"
MEDIA_URL = "media/"
MEDIA_ROOT = FOLDERS["media"]
FILE_UPLOAD_TEMP_DIR = FOLDERS["uploads"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "session_attachments": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": FOLDERS["attachments"]},
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}

globals().update(json.loads(os.environ.get("TEST_SETTINGS", "{}")))
