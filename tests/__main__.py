"""A management command in the test project: `python -m tests makemigrations`."""

import os
import sys
import tempfile

from django.conf import settings
from django.core.management import execute_from_command_line

with tempfile.TemporaryDirectory() as root:
    os.environ |= {"TEST_ROOT": root, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    for folder in settings.FOLDERS.values():
        folder.mkdir()
    execute_from_command_line(sys.argv)
