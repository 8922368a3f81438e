import pytest
from django.apps import apps
from django.contrib.auth.signals import user_logged_out
from django.core.checks.registry import registry
from django.core.management import call_command
from django.db.models import BigAutoField
from django.db.models.signals import post_delete

from session_attachments import checks, receivers
from session_attachments.models import Attachment

APP = apps.get_app_config("session_attachments")


def connected():
    """The package's receivers, as often as they are connected."""
    live = [
        *user_logged_out._live_receivers(None)[0],
        *post_delete._live_receivers(Attachment)[0],
    ]
    return [receiver for receiver in live if receiver.__module__ == receivers.__name__]


def test_ready__connects_the_receivers_once():
    expected = [receivers.end_session, receivers.keep_track]
    assert connected() == expected
    APP.ready()
    assert connected() == expected


def test_ready__registers_every_check_once():
    def registered():
        return {
            check
            for check in registry.get_checks(include_deployment_checks=True)
            if check.__module__ == checks.__name__
        }

    assert registered() == set(checks.CHECKS)
    APP.ready()
    assert registered() == set(checks.CHECKS)


def test_checks__are_all_run():
    defined = [
        value for name, value in vars(checks).items() if name.startswith("check_")
    ]
    assert defined == checks.CHECKS


def test_primary_key__is_big_whatever_the_site_prefers(settings):
    assert APP.default_auto_field == "django.db.models.BigAutoField"
    assert isinstance(Attachment._meta.pk, BigAutoField)


@pytest.mark.django_db
@pytest.mark.parametrize("field", ["AutoField", "BigAutoField"])
def test_migrations__are_complete(settings, field):
    settings.DEFAULT_AUTO_FIELD = f"django.db.models.{field}"
    call_command("makemigrations", "session_attachments", check=True, dry_run=True)
