"""What the minimal site keeps."""

from django.db import models


class Document(models.Model):
    """One uploaded file."""

    owner = models.CharField(max_length=64, db_index=True)
    name = models.CharField(max_length=255)
    mimetype = models.CharField(max_length=255)
    size = models.BigIntegerField()
    created = models.DateTimeField(auto_now_add=True)
    file = models.FileField()

    def __str__(self):
        return self.name
