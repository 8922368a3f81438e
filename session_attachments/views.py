"""The HTTP API: each view fetches, checks, acts and answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.core.exceptions import (
    BadRequest,
    ObjectDoesNotExist,
    PermissionDenied,
    SuspiciousOperation,
)
from django.core.handlers.asgi import ASGIRequest
from django.db import DataError, OperationalError, connections, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.csrf import get_token
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from . import (
    access,
    csrf,
    downloads,
    downsampling,
    limits,
    preconditions,
    responses,
    workflow,
)
from .bodies import Body, Form, declared_length, form_token, linger
from .bundles import Bundle
from .exceptions import (
    AccessRefused,
    AttachmentError,
    BadName,
    Busy,
    Malformed,
    MethodNotAllowed,
    NotFound,
)
from .models import Attachment
from .names import canonical

V = TypeVar("V", bound=Callable[..., Any])

logger = logging.getLogger("session_attachments")


def non_atomic_requests(view: V) -> V:
    """Keep the ATOMIC_REQUESTS of all databases from the view, not of one."""
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return view


# The token is checked by the views themselves, before they read the body; and they
# commit by themselves, before they write it.
@method_decorator([csrf_exempt, non_atomic_requests], name="dispatch")
class Resource(View):
    """A resource whose every error is a problem document (RFC 9457)."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            known = {
                name: kwargs[name] for name in responses.ARGUMENTS if name in kwargs
            }
            response = self.respond(request, **known)
        except Exception as error:
            refusal = _refusal(error)
            if refusal is None:
                raise
            response = responses.problem(refusal, after=partial(linger, request))
        if request.method == "HEAD":
            response = responses.without_body(response)
        return response

    def respond(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        """Find the method, and call it."""
        allow = [m.upper() for m in self.http_method_names if hasattr(self, m)]
        allow.remove("OPTIONS")
        if request.method not in allow:
            raise MethodNotAllowed(allow)
        _check_path(request)
        workflow.admit(workflow.Context.of(request))
        handler = getattr(self, request.method.lower())
        response: HttpResponseBase = handler(request, **kwargs)
        return response


class BundleView(Resource):
    """One bundle: its list, uploads by form, and its removal."""

    def get(self, request: HttpRequest, bundle_id: str) -> HttpResponse:
        bundle = Bundle(request, bundle_id)
        if not settings.CSRF_USE_SESSIONS:
            # For a script's first upload. In the session, it would create one.
            get_token(request)
        return responses.listing(request, bundle.values())

    def post(self, request: HttpRequest, bundle_id: str) -> HttpResponse:
        bundle = Bundle(request, bundle_id)
        length = declared_length(request)
        limits.check_body_size(length)
        by_header = csrf.has_header(request)
        (csrf.check_header if by_header else csrf.check_origin)(request)
        form = Form(request, length)
        preconditions.check_bundle(request)
        access.settle(request)
        with bundle.upload(declared=length) as upload:
            for name, chunks in form.files():
                writer = upload.add(name)
                for chunk in chunks:
                    writer.write(chunk)
                writer.finish()
            if not by_header:
                csrf.check_token(request, form.token)
            rows = upload.publish()
        return responses.listing(request, rows)

    def delete(self, request: HttpRequest, bundle_id: str) -> HttpResponse:
        bundle = Bundle(request, bundle_id)
        csrf.check_header(request)
        preconditions.check_bundle(request)
        return responses.data([[True]] * bundle.clear())


class FileView(Resource):
    """One file: its content, its upload as raw bytes, and its removal."""

    def get(
        self, request: HttpRequest, bundle_id: str, file_name: str
    ) -> HttpResponseBase:
        bundle = Bundle(request, bundle_id)
        return _read(bundle, file_name, lambda row: self.answer(request, row))

    def answer(self, request: HttpRequest, row: Attachment) -> HttpResponseBase:
        """The file, or with `?meta` what is known of it."""
        if "meta" in request.GET:
            return responses.data(responses.detail(request, row))
        return downloads.download(request, row)

    def put(self, request: HttpRequest, bundle_id: str, file_name: str) -> HttpResponse:
        bundle, name = Bundle(request, bundle_id), canonical(file_name)
        length = declared_length(request)
        limits.check_file_size(length)
        if request.content_type == "multipart/form-data":
            raise Malformed
        if "Content-Range" in request.headers:
            # A part of a file (RFC 9110, section 14.5), which would replace all of it.
            raise Malformed
        csrf.check_header(request)
        expected = preconditions.of_change(request)
        access.settle(request)
        with bundle.upload(declared=length, name=name, precondition=expected) as upload:
            writer = upload.add(name)
            for chunk in Body(request, length):
                writer.write(chunk)
            writer.finish(length)
            (row,) = upload.publish()
        status = 200 if upload.replaced else 201
        return responses.data(responses.item(request, row), status)

    def delete(
        self, request: HttpRequest, bundle_id: str, file_name: str
    ) -> HttpResponse:
        bundle = Bundle(request, bundle_id)
        csrf.check_header(request)
        bundle.remove(file_name, precondition=preconditions.of_change(request))
        return responses.data([True])


class DownsampleView(Resource):
    """A smaller version of one file."""

    def get(
        self, request: HttpRequest, bundle_id: str, file_name: str, factor: str
    ) -> HttpResponseBase:
        n = downsampling.factor_of(factor)
        bundle = Bundle(request, bundle_id)
        return _read(
            bundle, file_name, lambda row: downsampling.downsample(request, row, n)
        )


class OwnedView(Resource):
    """A file that an object of the site has claimed, if the object says so."""

    def get(self, request: HttpRequest, public_id: str) -> HttpResponseBase:
        rows = Attachment.objects.primary().claimed()
        row = rows.filter(public_id=public_id).first()
        if row is None or not _may_access(row, request):
            raise NotFound
        try:
            return downloads.download(request, row)
        except FileNotFoundError as error:
            raise NotFound from error


class FileRemovalView(Resource):
    """The removal of one file, for clients that can only POST."""

    def post(
        self, request: HttpRequest, bundle_id: str, file_name: str
    ) -> HttpResponse:
        bundle = Bundle(request, bundle_id)
        _check_csrf_of_small_form(request)
        expected = preconditions.of_change(request)
        try:
            bundle.remove(file_name, precondition=expected)
        except NotFound:
            expected(None)
            return responses.data([False])
        return responses.data([True])


class BundleRemovalView(FileView):
    """The removal of a bundle by POST; else a file that is called `delete`."""

    def post(
        self, request: HttpRequest, bundle_id: str, file_name: str
    ) -> HttpResponse:
        bundle = Bundle(request, bundle_id)
        _check_csrf_of_small_form(request)
        preconditions.check_bundle(request)
        return responses.data([[True]] * bundle.clear())


class NothingView(Resource):
    """Any other path below the prefix."""

    def respond(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        raise NotFound


def _refusal(error: Exception) -> AttachmentError | None:
    """What the client is told of an error; None for a defect, which is the site's.

    Django's own errors come from Django, and from what the site has brought along.
    """
    if isinstance(error, AttachmentError):
        return error
    if isinstance(error, Http404):
        return NotFound()
    if isinstance(error, PermissionDenied):
        return AccessRefused(str(error) or None)
    if isinstance(error, BadRequest | SuspiciousOperation | DataError):
        # The last one is PostgreSQL's word for a NUL, such as in a forged cookie.
        return Malformed()
    if isinstance(error, OperationalError):
        # Locked for too long, or out of reach: not the visitor's doing.
        logger.error("The database failed", exc_info=error)
        return Busy()
    return None


def _check_csrf_of_small_form(request: HttpRequest) -> None:
    """The header, or the field of a form that has nothing else to say."""
    if csrf.has_header(request) or not csrf.is_enforced():
        csrf.check_header(request)
    else:
        csrf.check_origin(request)
        csrf.check_token(request, form_token(request))


def _check_path(request: HttpRequest) -> None:
    """Raise `BadName` for a path that is not UTF-8.

    Django has decoded it already, each server's way. The raw path is looked at where
    the server tells it.
    """
    if isinstance(request, ASGIRequest):
        raw = request.scope.get("raw_path") or request.path.encode()
    else:
        meta = request.META
        path = meta.get("RAW_URI") or meta.get("REQUEST_URI")
        # Django has left as it was what it could not decode.
        raw = (
            path.partition("?")[0].encode("latin-1", "replace")
            if path
            else request.path.encode()
        )
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadName from None


def _read(
    bundle: Bundle, name: str, answer: Callable[[Attachment], HttpResponseBase]
) -> HttpResponseBase:
    """Answer with the file, or with the one that replaces it meanwhile.

    Raises `NotFound` where there is none, or its bytes are gone.
    """
    row = bundle[name]
    while True:
        try:
            return answer(row)
        except FileNotFoundError:
            missing, row = row, bundle[name]
            if row.pk == missing.pk:
                raise NotFound from None


def _may_access(row: Attachment, request: HttpRequest) -> bool:
    """Whether the object says so; nobody may, where it is not there to be asked."""
    try:
        kind = row.content_type
    except ObjectDoesNotExist:
        return False
    if kind is None or kind.model_class() is None:  # The app is not installed any more.
        return False
    check = getattr(row.owner, "check_access", None)
    try:
        return check is not None and check(request, row.field) is True
    except PermissionDenied:
        return False
