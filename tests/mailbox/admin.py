from django.contrib import admin

from session_attachments.exceptions import AttachmentError
from session_attachments.forms import claiming

from .forms import MailFileForm, MailForm
from .models import Mail, MailFile


class FileInline(admin.TabularInline):
    model = MailFile
    form = MailFileForm
    extra = 0


@admin.register(Mail)
class MailAdmin(admin.ModelAdmin):
    form = MailForm
    inlines = [FileInline]

    def save_model(self, request, obj, form, change):
        with claiming(form):
            super().save_model(request, obj, form, change)
            for file in form.cleaned_data["attachments"]:
                obj.files.create(document=file)

    def save_formset(self, request, form, formset, change):
        with claiming(formset):
            super().save_formset(request, form, formset, change)

    def changeform_view(self, request, *args, **kwargs):
        try:
            return super().changeform_view(request, *args, **kwargs)
        except AttachmentError:
            # The files have changed since the form was checked: check it again.
            return super().changeform_view(request, *args, **kwargs)
