"""The minimal site: Django's defaults, a model and the session, and no promises."""

from django.core.files.uploadedfile import TemporaryUploadedFile
from django.http import FileResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone

from .models import Document


def documents(request):
    """The session's list, its uploads by form, and their removal."""
    owner = request.session["owner"]
    if request.method == "POST":
        files = request.FILES.values()
        return answer(save(owner, file.content_type, file) for file in files)
    rows = Document.objects.filter(owner=owner)
    if request.method == "DELETE":
        for row in rows:
            row.file.delete(save=False)
        rows.delete()
        return answer([])
    return answer(rows.order_by("name"))


def document(request, name):
    """One file: its content, and its upload as raw bytes."""
    owner = request.session["owner"]
    if request.method == "PUT":
        with TemporaryUploadedFile(name, request.content_type, 0, None) as file:
            while chunk := request.read(64 * 1024):
                file.write(chunk)
            file.size = file.tell()
            return answer([save(owner, request.content_type, file)])
    found = get_object_or_404(Document, owner=owner, name=name)
    return FileResponse(found.file.open(), as_attachment=True, filename=found.name)


def save(owner, mimetype, file):
    return Document.objects.create(
        owner=owner, name=file.name, mimetype=mimetype, size=file.size, file=file
    )


def answer(rows):
    return JsonResponse([item(row) for row in rows], safe=False)


def item(row):
    created = timezone.localtime(row.created)
    return {
        "mimetype": row.mimetype,
        "size": row.size,
        "name": row.name,
        "created": created.strftime("%Y-%m-%d %H:%M"),
        "url": reverse("document", kwargs={"name": row.name}),
    }
