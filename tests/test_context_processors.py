"""What templates are given."""

from django.template import engines
from django.test import RequestFactory

NAME = "SESSION_ATTACHMENTS_MAX_FILE_SIZE"


def render(settings):
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "context_processors": [
                    "session_attachments.context_processors.filesize"
                ]
            },
        }
    ]
    template = engines["django"].from_string("{{ " + NAME + " }}")
    return template.render(request=RequestFactory().get("/"))


def test_filesize__default(settings):
    assert render(settings) == "50"


def test_filesize__as_the_site_wrote_it(settings):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0.5
    assert render(settings) == "0.5"
