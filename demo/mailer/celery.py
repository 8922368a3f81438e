"""The worker that removes what nobody sent: `celery -A mailer worker --beat`."""

import os
from pathlib import Path

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mailer.settings")

app = Celery("mailer")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# The broker is a folder, so that the demo needs no server; kombu wants it there.
for folder in settings.CELERY_BROKER_TRANSPORT_OPTIONS.values():
    Path(folder).mkdir(parents=True, exist_ok=True)
