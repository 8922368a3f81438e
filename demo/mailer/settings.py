"""Settings of the demo: everything is local, and nothing but Python is needed."""

import os
from datetime import timedelta
from pathlib import Path

BASE = Path(__file__).resolve().parent.parent

# Database, files and queue. The demo can be started over by removing it.
VAR = Path(os.environ.get("DEMO_VAR", BASE / "var")).resolve()
VAR.mkdir(parents=True, exist_ok=True)

# For a demo on one's own machine. A site keeps its key secret and DEBUG off.
SECRET_KEY = "django-insecure-demo-of-session-attachments"
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "mailer",
    "session_attachments",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "mailer.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "session_attachments.middleware.visitor_middleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "mailer.urls"
WSGI_APPLICATION = "mailer.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": VAR / "db.sqlite3",
        # Writers wait for each other instead of failing with "locked".
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    },
}

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage",
    },
    # Neither of the two folders below is served by a URL: the library's views and
    # the demo's own look first whether the visitor may.
    "session_attachments": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": VAR / "attachments"},
    },
    "sent": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": VAR / "sent"},
    },
}

MEDIA_ROOT = VAR / "media"
STATIC_URL = "static/"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

# Small enough to see the refusals.
SESSION_ATTACHMENTS_MAX_FILE_SIZE = 25  # MiB
SESSION_ATTACHMENTS_MAX_FILES = 10
SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 200  # MiB
SESSION_ATTACHMENTS_VALIDATORS = ["mailer.validators.no_programs"]
SESSION_ATTACHMENTS_LIFETIME = 1  # days

# Where the worker's queue is: folders, no server.
CELERY_BROKER_URL = "filesystem://localhost"
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "data_folder_in": str(VAR / "celery" / "queue"),
    "data_folder_out": str(VAR / "celery" / "queue"),
    "control_folder": str(VAR / "celery" / "control"),
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TIMEZONE = TIME_ZONE
CELERY_WORKER_CONCURRENCY = 1
# The default one keeps its times in a file, which Python 3.13 may fail to lock.
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"
CELERY_BEAT_SCHEDULE = {
    "remove attachments that nobody sent": {
        "task": "session_attachments.tasks.remove_outdated_attachments",
        "schedule": timedelta(minutes=5),
    },
}
