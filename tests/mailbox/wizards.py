from django.shortcuts import redirect
from formtools.wizard.views import SessionWizardView

from session_attachments.exceptions import AttachmentError
from session_attachments.forms import claiming, step_data

from .forms import FilesForm, SubjectForm
from .models import Mail


class MailWizard(SessionWizardView):
    form_list = [("files", FilesForm), ("subject", SubjectForm)]
    template_name = "mailbox/wizard.html"

    def get_form_step_data(self, form):
        return step_data(form)  # It knows the files that came with the form.

    def get_form_step_files(self, form):
        return {}  # They are in the form's bundle already.

    def done(self, form_list, form_dict, **kwargs):
        files = form_dict["files"]
        try:
            with claiming(files):
                mail = Mail.objects.create(**form_dict["subject"].cleaned_data)
                for file in files.cleaned_data["attachments"]:
                    mail.files.create(document=file)
        except AttachmentError:
            return self.render_revalidation_failure("files", files)
        return redirect("sent")
