import secrets

from django.contrib import messages
from django.http import FileResponse, Http404
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from session_attachments.exceptions import AttachmentError
from session_attachments.forms import claiming

from .forms import MailForm
from .models import Mail, MailFile


@require_http_methods(["GET", "HEAD", "POST"])
def compose(request):
    form = MailForm(request.POST or None, request.FILES or None)
    if form.is_valid():
        form.instance.mailbox = mailbox = (
            own_mailbox(request) or secrets.token_urlsafe()
        )
        try:
            with claiming(form):
                mail = form.save()
                for file in form.cleaned_data["attachments"]:
                    mail.files.create(name=file.name, document=file)
        except AttachmentError:
            pass  # Nothing is sent, and the form says why.
        else:
            request.session["mailbox"] = mailbox
            messages.success(request, f"“{mail.subject}” was sent.")
            return redirect("sent")
    return render(request, "mailer/compose.html", {"form": form})


@require_GET
def sent(request):
    mails = sent_mails(request).prefetch_related("files")
    return render(request, "mailer/sent.html", {"mails": mails})


@require_GET
def download(request, pk):
    file = get_object_or_404(MailFile, pk=pk, mail__in=sent_mails(request))
    try:
        content = file.document.open()
    except FileNotFoundError as error:
        raise Http404 from error
    response = FileResponse(
        content,
        as_attachment=True,
        filename=file.name,
        content_type="application/octet-stream",
    )
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


def sent_mails(request):
    """The mails that this session sent, and no other."""
    return Mail.objects.filter(mailbox=own_mailbox(request))


def own_mailbox(request):
    """The random value by which the session knows its mails; empty before the first."""
    return request.session.get("mailbox", "")
