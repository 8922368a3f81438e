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
        except AttachmentError as error:
            # Nothing is saved. Show the form again, with what stopped it.
            request.refusal = str(error)
            return super().changeform_view(request, *args, **kwargs)

    def get_form(self, request, *args, **kwargs):
        form_class = super().get_form(request, *args, **kwargs)
        if not hasattr(request, "refusal"):
            return form_class

        class RefusedForm(form_class):
            def clean(self):
                super().clean()
                self.add_error(None, request.refusal)

        return RefusedForm
