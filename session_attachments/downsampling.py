"""Smaller versions of files, computed by Python: by type, as far as the site lists it.

A function is told an open file and a factor of at least 2, and returns the content and
its MIME type. It raises `ValueError` for a content that it cannot make smaller.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TypeAlias

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.module_loading import import_string

from .conf import conf
from .downloads import not_modified, protected
from .exceptions import AttachmentError, BadFactor, Invalid, NotFound, NotReducible
from .models import Attachment, AttachmentFile
from .streaming import opened

logger = logging.getLogger("session_attachments")

Downsampler: TypeAlias = Callable[[AttachmentFile, int], tuple[bytes, str]]


def factor_of(text: str) -> int:
    """The factor in a path; raises `BadFactor` for what is no integer from 2 on."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= 2):
        raise BadFactor
    return int(text)


def downsample(request: HttpRequest, row: Attachment, factor: int) -> HttpResponseBase:
    """The answer to a GET or HEAD of a file's smaller version.

    Raises `NotFound` where the site lists no types, `NotReducible` for one that it does
    not list, `Invalid` for a content that cannot be made smaller, or makes the function
    crash; `FileNotFoundError` and `StorageFailed`.
    """
    function = _function(row.mimetype)
    etag = f'"{row.public_id}-{factor}"'
    response = not_modified(request, row, etag)
    if response is None:
        with opened(row) as file:
            try:
                content, mimetype = function(file, factor)
            except AttachmentError:
                raise
            except ValueError as error:
                logger.info("A file could not be made smaller: %s", error)
                raise Invalid from error
            except Exception as error:
                logger.exception("%s failed", function)
                raise Invalid from error
        response = HttpResponse(content)
        response["Content-Length"] = str(len(response.content))
        response = protected(response, row)
        response["Content-Type"] = mimetype
    response["ETag"] = etag
    return response


def _function(mimetype: str) -> Downsampler:
    functions = conf.downsamplers
    if not functions:
        raise NotFound
    for pattern, path in functions.items():
        if fnmatchcase(mimetype, pattern):
            function: Downsampler = import_string(path)
            return function
    raise NotReducible
