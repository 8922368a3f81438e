"""What the tests of forms share: pages as a browser sees them, and other visitors."""

from html.parser import HTMLParser

from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from session_attachments import sweep
from session_attachments.models import Attachment
from session_attachments.testing import form_data
from tests.mailbox.models import MailFile


def sent_files():
    """The documents of all mails: name, without what the storage adds, and bytes."""
    found = []
    for row in MailFile.objects.order_by("pk"):
        with row.document.open() as file:
            found.append((row.document.name, file.read()))
    return found


class Page(HTMLParser):
    """The tags of a page and their attributes."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.feed(str(html))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def inputs(self, name):
        """The values of the inputs of this name."""
        return [a.get("value", "on") for _, a in self.tags if a.get("name") == name]


def element(form, field="attachments"):
    """The attributes of the field's element."""
    return dict(Page(form[field]).tags)["session-attachments"]


def upload(name, content=b"content"):
    return SimpleUploadedFile(name, content)


def open_page(client, url):
    """What a browser would send of the form behind this address, untouched."""
    return form_data(client, client.get(url).context["form"])


def bundle_in(data, field="attachments"):
    return data[f"{field}-bundle"]


def shown_again(client, response):
    """What a browser would send of a form that came back."""
    assert response.status_code == 200
    return form_data(client, response.context["form"])


def remove(row):
    """The file goes, as by a click in another tab."""
    sweep.remove_on_commit(
        sweep.doom(Attachment.objects.filter(pk=row.pk), timezone.now())
    )


def errors(response):
    """What the visitor reads of the errors in the page's form."""
    return response.context["form"].errors


def clean(form_class, data=None, files=None, **kwargs):
    """A bound form, validated; without a bundle it has a fresh one."""
    form = form_class(data or {}, files or {}, **kwargs)
    form.is_valid()
    return form


def codes(form, field="attachments"):
    """What kinds of errors the field has."""
    return [error.code for error in form.errors.as_data().get(field, [])]


def formset_data(client, url="/applications/"):
    """What a browser would send of a page with a formset, untouched."""
    formset = client.get(url).context["form"]
    data = form_data(client, formset)
    for form in formset:
        data |= {
            name: form[field].value() or ""
            for field in ("id", "name")
            if field in form.fields and (name := form[field].html_name)
        }
    return data
