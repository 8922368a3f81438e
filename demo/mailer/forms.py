from django.forms import ModelForm

from session_attachments.forms import AttachmentsField
from session_attachments.widgets import AttachmentsWidget

from .models import Mail


class MailForm(ModelForm):
    attachments = AttachmentsField(
        required=False,
        # Files may be dropped anywhere on the mail.
        widget=AttachmentsWidget(attrs={"drop": "form"}),
    )

    class Meta:
        model = Mail
        fields = ("to", "subject", "message")
