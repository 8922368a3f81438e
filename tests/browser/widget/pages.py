"""A site whose pages have the form widget, in each way that the tests look at.

`<html>` follows the query: `?theme=dark`, `?dir=rtl`, `?lang=de`.
"""

import hashlib
import re
import time

from django import forms
from django.contrib import admin
from django.contrib.auth import get_user_model, login
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import include, path
from django.views.decorators.http import require_POST

from session_attachments.exceptions import AttachmentError
from session_attachments.forms import AttachmentField, AttachmentsField, claiming

from .examples import EXAMPLES

exec(EXAMPLES["htmx_files.py"])

HELP = "For instance a résumé."


class Several(forms.Form):
    subject = forms.CharField(max_length=20)
    attachments = AttachmentsField(required=False, help_text=HELP)


class Required(forms.Form):
    attachments = AttachmentsField()


class Limited(forms.Form):
    attachments = AttachmentsField(
        required=False,
        max_files=3,
        max_size=1,
        allowed_types=["image/*", "text/plain", "application/pdf"],
    )


class Single(forms.Form):
    attachments = AttachmentField(required=False, max_size=5)


class Shared(forms.Form):
    """Every page has the same bundle."""

    attachments = AttachmentsField(required=False, bundle="shared")


class Disabled(forms.Form):
    attachments = AttachmentsField(required=False, bundle="shared", disabled=True)


class Two(forms.Form):
    attachments = AttachmentsField(required=False)
    pictures = AttachmentsField(required=False)


class Wide(forms.Form):
    """The whole form takes what is dropped."""

    subject = forms.CharField(required=False)
    message = forms.CharField(required=False, widget=forms.Textarea)
    attachments = AttachmentsField(required=False)
    attachments.widget.attrs["drop"] = "form"


class Empty(forms.Form):
    """Without the widget: for pages that do it all by themselves."""


Rows = forms.formset_factory(Single, extra=1)

FORMS = {
    form.__name__.lower(): form
    for form in (
        Several,
        Required,
        Limited,
        Single,
        Shared,
        Disabled,
        Two,
        Wide,
        Empty,
        Rows,
    )
} | {"rows": Rows}


def page(request, kind):
    form_class = FORMS[kind]
    form = form_class(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        if "slow" in request.GET:
            time.sleep(1)
        try:
            with claiming(form):
                received = read(form)
        except AttachmentError:
            pass
        else:
            button = request.POST.get("button", "")
            mails = request.session.get("mails", [])
            request.session["mails"] = [*mails, [button, received]]
            if "late" in request.GET:
                time.sleep(3)
            return redirect("sent")
    context = {"form": form, "kind": kind, "is_formset": form_class is Rows}
    context["forms"] = [form, form_class()]
    template = "empty" if kind == "empty" else "form"
    return show(request, f"{request.GET.get('page', template)}.html", context)


def read(form):
    """Name, size and digest of all files."""
    received = []
    for each in form if isinstance(form, forms.BaseFormSet) else [form]:
        for name in each.fields:
            value = each.cleaned_data.get(name)
            for file in value if isinstance(value, list) else [value]:
                if hasattr(file, "chunks"):
                    digest = hashlib.sha256()
                    for chunk in file.chunks():
                        digest.update(chunk)
                    received.append([file.name, file.size, digest.hexdigest()])
    return received


def early(request):
    """A page that comes in two parts, cut in the middle of the element."""
    html = page(request, "several").content.decode()
    html = html.replace('type="module"', 'type="module" async')
    head, tag, rest = html.partition("<session-attachments ")
    rest, end, tail = rest.partition(">\n")

    def parts():
        yield head + tag + rest + end
        time.sleep(1)
        yield tail

    return StreamingHttpResponse(parts())


def show(request, template, context):
    return render(
        request,
        template,
        context
        | {
            "theme": request.GET.get("theme", "light"),
            "dir": request.GET.get("dir", "ltr"),
            "lang": request.GET.get("lang", "en"),
        },
    )


def sent(request):
    """What was sent in this session: for each mail the button and its files."""
    return JsonResponse(request.session.get("mails", []), safe=False)


def example(request, name):
    """An example on a page of its own, or the module that it is."""
    if name.endswith(".js"):
        return HttpResponse(EXAMPLES[name], content_type="text/javascript")
    htmx = f"htmx{request.GET.get('htmx', '')}/htmx.js"
    context = {"name": name, "htmx": htmx, "form": Several()}
    if name == "htmx-element.html":
        context["module"] = "htmx-element.js"
    return show(request, "example.html", context)


@require_POST
def htmx_send(request):
    """What htmx swaps in."""
    form = Several(request.POST, request.FILES)
    assert form.is_valid(), form.errors
    with claiming(form):
        received = read(form)
    text = ", ".join(f"{name}: {size}" for name, size, _ in received)
    return HttpResponse(text, headers={"HX-Trigger": "mail-sent"})


def sign_in(request):
    user, _ = get_user_model().objects.get_or_create(
        username="grace", defaults={"is_staff": True, "is_superuser": True}
    )
    login(request, user)
    return HttpResponse("Signed in.")


def sign_out(request):
    """End the session, as its expiry does: without a word to anybody."""
    request.session.delete()
    return HttpResponse("Gone.")


def content_security_policy(get_response):
    """Nothing inline, on any page; and what would be refused if it were stricter."""
    policy = (
        "default-src 'self'; script-src 'self'; style-src 'self'; "
        "img-src 'self' blob: data:; base-uri 'none'; form-action 'self'; "
        "object-src 'none'"
    )
    stricter = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob:; require-trusted-types-for 'script'; trusted-types 'none'"
    )

    def middleware(request):
        response = get_response(request)
        response.headers["Content-Security-Policy"] = policy
        # htmx makes HTML of strings, and the admin's styles have images in them.
        if not re.search("htmx|admin", request.path):
            response.headers["Content-Security-Policy-Report-Only"] = stricter
        return response

    return middleware


urlpatterns = [
    path("admin/", admin.site.urls),
    path("attachments/", include("session_attachments.urls")),
    path("favicon.ico", lambda request: HttpResponse(status=204)),
    path("sent/", sent, name="sent"),
    path("examples/<str:name>/", example),
    path("examples/<str:name>", example),
    path("htmx/send/", htmx_send, name="htmx-send"),
    path("htmx/files/", htmx_files, name="htmx-files"),  # noqa: F821  # an example
    path("sign-in/", sign_in),
    path("sign-out/", sign_out),
    path("early/", early),
    path("<slug:kind>/", page, name="page"),
]
