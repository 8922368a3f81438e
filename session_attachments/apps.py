"""The Django app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SessionAttachmentsConfig(AppConfig):
    """Registers the receivers and the checks; touches nothing else."""

    name = "session_attachments"
    verbose_name = _("Session attachments")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.contrib.auth.signals import user_logged_out
        from django.core import checks as django_checks
        from django.db.models.signals import post_delete

        from . import checks, receivers
        from .models import Attachment

        user_logged_out.connect(receivers.end_session)
        post_delete.connect(receivers.keep_track, sender=Attachment)
        for check in checks.CHECKS:
            django_checks.register(check, self.name)
