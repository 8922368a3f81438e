"""The texts in other languages, which come with the package."""

import ast
import gettext
import re
from pathlib import Path

import django
import pytest
from django.test import Client
from django.utils.translation import override

import session_attachments
from session_attachments.exceptions import TooLarge
from session_attachments.forms import AttachmentsField
from session_attachments.widgets import TEXTS

PACKAGE = Path(session_attachments.__file__).parent
LOCALES = sorted(PACKAGE.glob("locale/*/LC_MESSAGES"))
MARKS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}


def catalog(path):
    """Source text to translation; of several forms for a number the first."""
    with path.open("rb") as file:
        found = gettext.GNUTranslations(file)._catalog
    first = {key: text for key, text in found.items() if isinstance(key, str) and key}
    return first | {key[0]: found[key] for key in found if key[1:] == (0,)}


def marked():
    """All texts in the code that are to be translated."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MARKS:
                yield ast.literal_eval(node.args[0])


@pytest.fixture(params=LOCALES, ids=lambda path: path.parent.name)
def locale(request):
    return request.param


def test_locales__are_some():
    assert [path.parent.name for path in LOCALES] == ["de"]


def test_catalog__has_every_text_that_django_has_not(locale):
    django_has = catalog(
        Path(django.__file__).parent
        / Path("conf", "locale", locale.parent.name, "LC_MESSAGES", "django.mo")
    )
    texts = set(marked())
    assert len(texts) > 100
    own = catalog(locale / "django.mo")
    assert texts - set(django_has) - set(own) == set()
    assert set(own) - texts == set()


def test_catalog__keeps_the_placeholders(locale):
    for text, translated in catalog(locale / "django.mo").items():
        found = [
            sorted(re.findall(r"%\(\w+\)[sd]|\{\w+\}", each))
            for each in (text, translated)
        ]
        assert found[0] == found[1], text


def test_catalog__is_compiled_from_its_source(locale):
    text = (locale / "django.po").read_text("utf-8")
    pairs = re.findall(
        r'^msgid "(.+)"\n(?:msgid_plural ".+"\n)?msgstr(?:\[0\])? "(.+)"$', text, re.M
    )
    assert dict(pairs) == catalog(locale / "django.mo")


def test_texts__are_in_the_language_of_the_request():
    with override("de"):
        assert str(TEXTS["add"]) == "Dateien hinzufügen"
        field = AttachmentsField()
        assert field.error_messages["too_many"] % {"limit": 1} == (
            "Hängen Sie höchstens 1 Datei an."
        )
        assert field.error_messages["too_many"] % {"limit": 2} == (
            "Hängen Sie höchstens 2 Dateien an."
        )
        assert TooLarge(2**20).detail == "Die Datei ist größer als 1,0\xa0MB."


@pytest.mark.django_db(transaction=True)
def test_problem__is_in_the_language_of_the_request(settings):
    settings.MIDDLEWARE = [
        "django.middleware.locale.LocaleMiddleware",
        *settings.MIDDLEWARE,
    ]
    # The middleware leaves the language to the next request, or to the next test.
    with override("en"):
        answer = Client().get(
            "/attachments/foo/spam.txt/", headers={"accept-language": "de"}
        )
    assert answer.status_code == 404
    assert answer.json()["detail"] == "Diese Datei gibt es nicht."
