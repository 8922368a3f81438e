from django import forms

from session_attachments.forms import AttachmentField, AttachmentsField

from .models import Application, Mail, MailFile, Ticket


class MailForm(forms.ModelForm):
    attachments = AttachmentsField(
        required=False,
        max_files=3,
        max_size=1,  # MiB
        allowed_types=["text/*", "image/png"],
    )

    class Meta:
        model = Mail
        fields = ["subject"]


class MailFileForm(forms.ModelForm):
    document = AttachmentField()

    class Meta:
        model = MailFile
        fields = ["document"]


class ApplicationForm(forms.ModelForm):
    cv = AttachmentField(allowed_types=["application/pdf"])

    class Meta:
        model = Application
        fields = ["name", "cv"]


class TicketForm(forms.ModelForm):
    files = AttachmentsField(required=False)

    class Meta:
        model = Ticket
        fields = ["title"]

    def __init__(self, *args, draft, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["files"].bundle = f"ticket-{draft}"


class FilesForm(forms.Form):
    attachments = AttachmentsField()


class SubjectForm(forms.Form):
    subject = forms.CharField()


ApplicationFormSet = forms.modelformset_factory(
    Application, form=ApplicationForm, extra=2, can_delete=True
)
