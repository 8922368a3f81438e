from asgiref.sync import sync_to_async
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse_lazy
from django.views.generic import CreateView

from session_attachments.exceptions import AttachmentError
from session_attachments.forms import claiming

from .forms import (
    ApplicationForm,
    ApplicationFormSet,
    MailForm,
    TicketForm,
)
from .models import Application


def send_mail(request):
    form = MailForm(request.POST or None, request.FILES or None)
    if form.is_valid() and save_mail(form):
        return redirect("sent")
    return render(request, "mailbox/form.html", {"form": form})


def save_mail(form):
    """The mail with all its files; or None, and the form says why."""
    try:
        with claiming(form):
            mail = form.save()
            for file in form.cleaned_data["attachments"]:
                mail.files.create(document=file)
    except AttachmentError:
        return None
    return mail


def apply(request, pk=None):
    application = get_object_or_404(Application, pk=pk) if pk else None
    form = ApplicationForm(
        request.POST or None, request.FILES or None, instance=application
    )
    if form.is_valid():
        try:
            with claiming(form):
                form.save()
        except AttachmentError:
            pass  # The form has the error now.
        else:
            return redirect("sent")
    return render(request, "mailbox/form.html", {"form": form})


class ApplicationView(CreateView):
    form_class = ApplicationForm
    success_url = reverse_lazy("sent")
    template_name = "mailbox/form.html"

    def form_valid(self, form):
        try:
            with claiming(form):
                return super().form_valid(form)
        except AttachmentError:
            return self.form_invalid(form)


def applications(request):
    formset = ApplicationFormSet(
        request.POST or None,
        request.FILES or None,
        queryset=Application.objects.order_by("pk"),
    )
    if formset.is_valid():
        try:
            with claiming(formset):
                formset.save()
        except AttachmentError:
            pass  # The form that the error is about has it now.
        else:
            return redirect("sent")
    return render(request, "mailbox/form.html", {"form": formset})


def open_ticket(request, draft):
    form = TicketForm(request.POST or None, request.FILES or None, draft=draft)
    if form.is_valid():
        try:
            with claiming(form):
                ticket = form.save()
                for file in form.cleaned_data["files"]:
                    file.attachment.claim_for(ticket, "attachments")
        except AttachmentError:
            pass
        else:
            return redirect("sent")
    return render(request, "mailbox/form.html", {"form": form})


async def send_mail_async(request):
    form = MailForm(request.POST or None, request.FILES or None)
    if await sync_to_async(form.is_valid)() and await sync_to_async(save_mail)(form):
        return redirect("sent")
    return await sync_to_async(render)(request, "mailbox/form.html", {"form": form})


def sent(request):
    return HttpResponse("Sent")
