"""What can be refused: each error carries its stable code and its HTTP status."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.core.exceptions import SuspiciousOperation
from django.template.defaultfilters import filesizeformat
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class AttachmentError(Exception):
    """Something was refused.

    `code` is stable and for programs; `detail` is for people and translated; `limit`
    is the limit that was hit, in bytes or files, where there is one; `retry_after` is
    in seconds.
    """

    code = "error"
    status = HTTPStatus.BAD_REQUEST
    message: str | Promise = ""
    retry_after: int | None = None

    def __init__(self, detail: str | Promise | None = None) -> None:
        self.detail = str(self.message if detail is None else detail)
        self.limit: int | None = None
        super().__init__(self.detail)

    def __str__(self) -> str:
        return self.detail


class LimitError(AttachmentError):
    """A limit of the site was hit: in bytes, where not said otherwise."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    show: Callable[[int], str] = staticmethod(filesizeformat)

    def __init__(self, limit: int) -> None:
        super().__init__(str(self.message) % {"limit": self.show(limit)})
        self.limit = limit


class BadName(AttachmentError):
    """The name cannot be the name of a file."""

    code = "bad_name"
    message = _(
        "A file name must be UTF-8, at most 255 bytes long, and neither empty nor dots."
    )


class BadBundle(AttachmentError, SuspiciousOperation):
    """The bundle id cannot be one."""

    code = "bad_bundle"
    message = _(
        "A bundle id must be printable UTF-8 in NFC, 1 to 255 bytes long, without a "
        "slash, and not dots."
    )


class BadFactor(AttachmentError):
    """The factor of a smaller version is no integer of at least 2."""

    code = "bad_factor"
    message = _("The factor must be an integer of at least 2.")


class NoFile(AttachmentError):
    """The request holds no file."""

    code = "no_file"
    message = _("The request holds no file.")


class DuplicateName(AttachmentError):
    """Two files of one request have the same name."""

    code = "duplicate_name"
    message = _("Two files of the request have the same name.")


class IncompleteBody(AttachmentError):
    """Fewer or more bytes arrived than were announced."""

    code = "incomplete_body"
    message = _("The request's body does not have the length that was announced.")


class Malformed(AttachmentError):
    """The request cannot be understood."""

    code = "malformed"
    message = _("The request cannot be understood.")


class CSRFRefused(AttachmentError):
    """The CSRF token is missing or wrong, or the request has a foreign origin."""

    code, status = "csrf", HTTPStatus.FORBIDDEN
    message = _("The CSRF token is missing or wrong. Reload the page and try again.")


class AccessRefused(AttachmentError):
    """The visitor may not do this."""

    code, status = "access", HTTPStatus.FORBIDDEN
    message = _("You may not do this.")


class SessionEnded(AccessRefused):
    """The session ended while the upload was running."""

    message = _("The session ended before the upload did.")


class NotFound(AttachmentError, KeyError):
    """There is no such file for this visitor."""

    code, status = "not_found", HTTPStatus.NOT_FOUND
    message = _("There is no such file.")


class MethodNotAllowed(AttachmentError):
    """The resource does not have this method; `allow` lists those it has."""

    code, status = "method_not_allowed", HTTPStatus.METHOD_NOT_ALLOWED
    message = _("This resource does not have that method.")

    def __init__(self, allow: list[str]) -> None:
        super().__init__()
        self.allow = allow


class ClaimConflict(AttachmentError):
    """Files that were to be claimed were claimed, replaced or removed meanwhile."""

    code, status = "claim_conflict", HTTPStatus.CONFLICT
    message = _("The files have been used, replaced or removed in the meantime.")


class LengthRequired(AttachmentError):
    """The request does not announce the length of its body."""

    code, status = "length_required", HTTPStatus.LENGTH_REQUIRED
    message = _("The request must announce the length of its body (Content-Length).")


class PreconditionFailed(AttachmentError):
    """A condition of the request does not hold (RFC 9110, section 13)."""

    code, status = "precondition_failed", HTTPStatus.PRECONDITION_FAILED
    message = _("The file is not the one that the request expects.")


class TooLarge(LimitError):
    """The file is larger than the site allows."""

    code = "too_large"
    message = _("The file is larger than %(limit)s.")


class BundleFull(LimitError):
    """The bundle would hold more files than the site allows; `limit` is a number."""

    code = "bundle_full"
    message = _("There are more than %(limit)s files.")
    show = str


class SessionFull(LimitError):
    """The session's files take as much space as the site allows."""

    code = "session_full"
    message = _(
        "Your files take more than %(limit)s together. Remove some and try again."
    )


class TypeNotAllowed(AttachmentError):
    """The content is of a type that the site does not accept."""

    code, status = "type_not_allowed", HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    message = _("Files of this type are not accepted.")


class NotReducible(AttachmentError):
    """There is no smaller version of files of this type."""

    code, status = "not_reducible", HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    message = _("There is no smaller version of files of this type.")


class RangeNotSatisfiable(AttachmentError):
    """The requested range lies outside the file; `size` is the file's, in bytes."""

    code, status = (
        "range_not_satisfiable",
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    )
    message = _("The requested range lies outside the file.")

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


class Invalid(AttachmentError):
    """A validator of the site refused the file."""

    code, status = "invalid", HTTPStatus.UNPROCESSABLE_ENTITY
    message = _("The file could not be checked.")


class StorageFailed(AttachmentError):
    """The storage failed."""

    code, status = "storage", HTTPStatus.SERVICE_UNAVAILABLE
    message = _("The file storage does not work at the moment. Try again later.")
    retry_after = 30


class Maintenance(AttachmentError):
    """The site is being worked on."""

    code, status = "maintenance", HTTPStatus.SERVICE_UNAVAILABLE
    message = _("The site is being worked on. Try again later.")
    retry_after = 300


class Busy(AttachmentError):
    """The database could not decide between competing requests in time."""

    code, status = "busy", HTTPStatus.SERVICE_UNAVAILABLE
    message = _("The server is busy. Try again in a moment.")
    retry_after = 1


class SiteFull(LimitError):
    """The files of all visitors take as much space as the site allows."""

    code, status = "site_full", HTTPStatus.INSUFFICIENT_STORAGE
    message = _("The server has no room for more files. Try again later.")


class DiskFull(AttachmentError):
    """The disk has no room for the file."""

    code, status = "disk_full", HTTPStatus.INSUFFICIENT_STORAGE
    message = _("The server's disk has no room for the file. Try again later.")
