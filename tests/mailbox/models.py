from django.contrib.contenttypes.fields import GenericRelation
from django.db import models

from session_attachments.models import Attachment


class Mail(models.Model):
    subject = models.CharField(max_length=200)

    def __str__(self):
        return self.subject


class MailFile(models.Model):
    mail = models.ForeignKey(Mail, models.CASCADE, related_name="files")
    document = models.FileField(upload_to="mail")

    def __str__(self):
        return self.document.name


class Application(models.Model):
    name = models.CharField(max_length=200)
    cv = models.FileField(upload_to="cv", blank=True)

    def __str__(self):
        return self.name


class Ticket(models.Model):
    title = models.CharField(max_length=200)
    attachments = GenericRelation(Attachment)

    def __str__(self):
        return self.title

    def check_access(self, request, field):
        return request.user.is_staff
