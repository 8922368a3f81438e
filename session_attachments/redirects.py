"""Downloads that the storage sends: a redirect to its signed, short-lived URL."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect

from . import storage
from .downloads import disposition
from .models import Attachment

#: How long the URL is good for, in seconds: a browser follows it at once.
EXPIRE = 60


def redirect(request: HttpRequest, row: Attachment) -> HttpResponseBase:
    """302 to the file's signed URL (AWS Signature Version 4, query parameters).

    Type and disposition are parts of what is signed, and so is the method: `GET`.
    Raises `NotImplementedError` for `HEAD`, and where the storage signs nothing, as a
    local disk; `StorageFailed` where it has nothing to sign with.
    """
    if request.method == "HEAD":
        raise NotImplementedError
    site_storage = storage.named(row.storage)
    with storage.failures():
        url = storage.signed_url(
            site_storage,
            row.key,
            EXPIRE,
            ResponseContentType=row.mimetype,
            ResponseContentDisposition=disposition(row),
            ResponseCacheControl="private, no-store",
        )
    if url is None:
        raise NotImplementedError
    return HttpResponseRedirect(url)
