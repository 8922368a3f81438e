"""Form fields whose files are uploaded while the visitor still types.

    class MailForm(forms.ModelForm):
        attachments = AttachmentsField(required=False, max_files=5)

    form = MailForm(request.POST, request.FILES)
    if form.is_valid():
        try:
            with claiming(form):
                mail = form.save()
                for file in form.cleaned_data["attachments"]:
                    mail.files.create(document=file)
        except AttachmentError:
            ...  # the form has the error now: show it again

Needs `session_attachments.middleware.visitor_middleware`.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple

from django.core.exceptions import SuspiciousFileOperation, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db import connections
from django.forms import BaseForm, BaseFormSet, BoundField, Field, FileField
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from . import access, claims, submissions, workflow
from .bundles import Bundle
from .exceptions import (
    AttachmentError,
    BadName,
    ClaimConflict,
    DuplicateName,
    NotFound,
    PreconditionFailed,
)
from .models import Attachment, AttachmentFile
from .names import canonical, new_bundle_id
from .validators import is_accepted
from .widgets import AttachmentsWidget, AttachmentWidget, Submission

#: What a visitor reads of a name that a storage of the site cannot use.
UNUSABLE = _("A file's name cannot be used here. Rename the file, and attach it again.")
#: Of files that would be saved twice; only a forged or broken page can have them.
SHARED = _("Two fields have the same file. Open the page anew, and attach it again.")


class AttachmentsField(Field):
    """Several files; cleaned to a list of Django `File`s, sorted by name.

    `bundle` is the id of a bundle that all forms share; without it every form that is
    rendered anew has one of its own. `max_files` is a number, `max_size` in MiB for
    each file, `max_length` in characters for each name, `allowed_types` a list of MIME
    types such as `image/*`, `texts` replaces what the widget says (`widgets.TEXTS`).
    All may be set on a form's own field, too.

    `validators` are called with each file.
    """

    widget = AttachmentsWidget
    #: How often the form had been submitted before, when it was cleaned.
    times_submitted = 0
    default_error_messages = {
        "gone": _("This form is too old. Look at your files, and submit it again."),
        "spent": _(
            "This form has been submitted already. Submit it again if you mean it."
        ),
        "missing": _(
            "Some of the files have been used, replaced or removed, or have expired. "
            "Look at those that are left, and submit the form again."
        ),
        "too_many": ngettext_lazy(
            "Attach at most %(limit)d file.",
            "Attach at most %(limit)d files.",
            "limit",
        ),
        "too_large": _("%(name)s is larger than %(limit)s."),
        "max_length": FileField.default_error_messages["max_length"],
        "type_not_allowed": _("%(name)s is of a type that is not accepted here."),
        "lost": _("%(name)s is lost. Remove it, and attach it again."),
        "refused": _("%(name)s: %(reason)s"),
    }

    def __init__(
        self,
        *,
        bundle: str | None = None,
        max_files: int | None = None,
        max_size: float | None = None,
        max_length: int | None = None,
        allowed_types: Iterable[str] | None = None,
        texts: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.bundle = bundle
        self.max_files = max_files
        self.max_size = max_size
        self.max_length = max_length
        self.allowed_types = (
            allowed_types if allowed_types is None else [*allowed_types]
        )
        self.texts = texts or {}
        super().__init__(**kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> AttachmentsField:
        field: AttachmentsField = super().__deepcopy__(memo)
        # A form may change its own.
        field.texts = dict(self.texts)
        if self.allowed_types is not None:
            field.allowed_types = [*self.allowed_types]
        return field

    @property
    def max_bytes(self) -> int | None:
        return None if self.max_size is None else int(self.max_size * 2**20)

    def get_bound_field(self, form: BaseForm, field_name: str) -> BoundField:
        """The field of one form, which has a bundle of its own."""
        bound = super().get_bound_field(form, field_name)
        self.widget.field, self.widget.fresh = self, new_bundle_id()
        if "__prefix__" in bound.html_name:
            # A formset's empty form. Its copies differ by what replaces the prefix.
            self.widget.fresh += "-__prefix__"
        return bound

    def clean(self, value: Any) -> Any:
        """The files as they are now, after what the form itself brings or removes."""
        files = self._files(value)
        self.validate(files)
        return files

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether there are files, or there were."""
        if self.disabled or not isinstance(data, Submission):
            return False
        if not data.bundle_id or data.uploads:
            return True
        bundle = Bundle(access.current(), data.bundle_id)
        ids = {row.public_id for row in bundle.values()} | data.shown
        return bool(ids - data.removals or self._times_submitted(bundle))

    def _files(self, value: Any) -> list[AttachmentFile]:
        """Do what was submitted; raise `ValidationError` where not all can be done."""
        if not isinstance(value, Submission):
            # The field is disabled: nothing that was sent counts.
            if self.bundle is None:
                return []
            value = Submission(self.bundle)
        if not value.bundle_id:
            raise self._error("gone")
        bundle = Bundle(access.current(), value.bundle_id)
        # First of all: what another submission takes from here on is a conflict.
        self.times_submitted = self._times_submitted(bundle)
        before = bundle.values()
        stored, errors = self._change(bundle, value)
        rows = bundle.values()
        replaced = {
            row.public_id
            for row in before
            if any(self._replaces(new, row) for new in stored)
        }
        seen = value.shown.union(row.public_id for row in before)
        expected = seen - value.removals - replaced
        is_spent = self.times_submitted or (not rows and self._times_submitted(bundle))
        if is_spent and not value.shown & {row.public_id for row in rows}:
            # What comes with it is kept, but not submitted unless its visitor has seen
            # it on a page, and so has read that the form was submitted already.
            errors.append(self._error("spent"))
        elif expected - {row.public_id for row in rows}:
            errors.append(self._error("missing"))
        files = [row.as_file() for row in rows]
        errors += self._problems(files)
        if errors:
            raise ValidationError(errors)
        return files

    def _times_submitted(self, bundle: Bundle) -> int:
        """How often this very form was submitted; a bundle that all share never is."""
        return 0 if self.bundle else submissions.times_submitted(bundle)

    def _change(
        self, bundle: Bundle, value: Submission
    ) -> tuple[list[Attachment], list[ValidationError]]:
        """Do what the element does by script, as far as its requests are let in.

        Returns what was stored, and the refusals.
        """
        removals = [row for row in bundle.values() if row.public_id in value.removals]
        request = access.current_request()
        if request is not None and (removals or value.uploads):
            try:
                # Whatever the method: a form may be made of what a GET sends.
                workflow.admit(workflow.Context(request, writes=True))
            except AttachmentError as error:
                return [], [ValidationError(str(error), error.code)]
        stored, errors = [], []
        for row in removals:
            try:
                _remove(bundle, row)
            except AttachmentError as error:
                errors.append(self._refusal(row.name, error))
        names = set()
        for upload in value.uploads:
            try:
                name = canonical(upload.name or "")
                if name in names:
                    raise DuplicateName
                names.add(name)
                stored.append(self._store(bundle, upload))
            except (AttachmentError, ValidationError) as error:
                errors.append(self._refusal(upload.name, error))
        return stored, errors

    def _replaces(self, new: Attachment, old: Attachment) -> bool:
        """Whether a file that the form has stored took the place of another."""
        return new.name == old.name

    def _store(self, bundle: Bundle, upload: UploadedFile[Any]) -> Attachment:
        """Store one upload, unless the field does not allow it."""
        self._check_size(upload.name, upload.size or 0)
        return bundle.save(upload.name or "", upload, check=self._check_type)

    def _problems(self, files: list[AttachmentFile]) -> list[ValidationError]:
        """Everything that is wrong with the files."""
        errors = []
        if self.max_files is not None and len(files) > self.max_files:
            errors.append(self._error("too_many", limit=self.max_files))
        for file in files:
            try:
                self._check_size(file.name, file.size)
                self._check_length(file.attachment.name)
                self._check_type(file.attachment)
                with file.open():
                    self.run_validators(file)
            except FileNotFoundError:
                errors.append(self._error("lost", name=file.name))
            except (AttachmentError, ValidationError) as error:
                errors.append(self._refusal(file.name, error))
        return errors

    def _check_size(self, name: str | None, size: int) -> None:
        limit = self.max_bytes
        if limit is not None and size > limit:
            raise self._error("too_large", name=name, limit=filesizeformat(limit))

    def _check_length(self, name: str) -> None:
        limit, length = self.max_length, len(name)
        if limit is not None and length > limit:
            raise self._error("max_length", max=limit, length=length)

    def _check_type(self, row: Attachment) -> None:
        kinds = self.allowed_types
        if kinds is not None and not is_accepted(
            row.name, row.mimetype, row.size, kinds
        ):
            raise self._error("type_not_allowed", name=row.name)

    def run_validators(self, value: Any) -> None:
        """Show one file to the field's validators; the errors bear its name."""
        try:
            super().run_validators(value)
        except ValidationError as error:
            raise ValidationError(
                [
                    self._error("refused", each.code, name=value.name, reason=reason)
                    for each in error.error_list
                    for reason in each.messages
                ]
            ) from error

    def _refusal(
        self, name: str | None, error: AttachmentError | ValidationError
    ) -> ValidationError:
        if isinstance(error, AttachmentError):
            return self._error("refused", error.code, name=name, reason=error)
        return error

    def _error(
        self, key: str, code: str | None = None, **params: Any
    ) -> ValidationError:
        return ValidationError(self.error_messages[key], code or key, params)


class BoundAttachment(BoundField):
    """A field that also knows the file that its form's object has already."""

    @property
    def data(self) -> Submission:
        sent: Submission = super().data
        return replace(sent, initial=self.initial)


class AttachmentField(AttachmentsField):
    """One file; cleaned to a Django `File`, or None.

    In place of the field that a ModelForm has for a model's `FileField`, it keeps the
    object's file where no other is attached, and can clear it where it is not required.
    It is cleaned to what that `FileField` takes: the former file, or False.
    """

    widget = AttachmentWidget
    bound_field_class = BoundAttachment

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_files=1, **kwargs)

    def clean(self, value: Any) -> Any:
        for file in self._files(value):
            return file
        initial, clear = value, False
        if isinstance(value, Submission):
            initial, clear = value.initial, value.clear and not self.required
        if not initial:
            self.validate(None)
            return None
        return False if clear else initial

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether there is a file, or there was, or the former one is cleared."""
        if super().has_changed(initial, data):
            return True
        clear = isinstance(data, Submission) and data.clear
        return bool(clear and initial and not self.disabled)

    def _store(self, bundle: Bundle, upload: UploadedFile[Any]) -> Attachment:
        """Store the upload in place of whatever is there."""
        row = super()._store(bundle, upload)
        for other in bundle.values():
            if other.pk != row.pk:
                _remove(bundle, other)
        return row

    def _replaces(self, new: Attachment, old: Attachment) -> bool:
        return True


class Attached(NamedTuple):
    """A field of a form, and the files it has."""

    form: BaseForm
    name: str
    files: list[AttachmentFile]


@contextlib.contextmanager
def claiming(*forms: BaseForm | BaseFormSet[Any]) -> Iterator[None]:
    """Claim the files of valid forms, for a block that saves them: all, once, or none.

    Forms that a formset deletes keep theirs. The block runs in a transaction, the
    caller's where there is one; see `claims.claim`. Where the files cannot be had,
    because one was removed in another tab or the form was submitted twice, or where two
    fields have the same one, or the site's storage can make no path of a name, their
    fields get an error for the visitor, and the `AttachmentError` is raised.
    """
    attached = list(_attached(forms))
    _check_unshared(attached)
    try:
        with claims.claim([file for _, _, files in attached for file in files]):
            yield
            _submit(attached)
    except AttachmentError as error:
        gone = [each for each in attached if _are_gone(each.files)]
        _tell(error, gone or attached)
        raise
    except (SuspiciousFileOperation, OSError, UnicodeEncodeError) as error:
        lent = [file for _, _, files in attached for file in files]
        if not lent or not _is_about_a_name(error, lent):
            raise
        refused = BadName(UNUSABLE)
        meant = [
            each
            for each in attached
            if any(str(file.name) in str(error) for file in each.files)
        ]
        _tell(refused, meant or attached)
        raise refused from error


def step_data(form: BaseForm | BaseFormSet[Any]) -> Any:
    """The data of a valid form, for a wizard that checks it again at its end.

    It tells what a page would now show of the form's files, those too that came with
    the form itself. So they are found again, and none is missing without a word.
    """
    data: Any = copy(form.data)
    for each, name, files in _attached([form]):
        rows, html_name = [file.attachment for file in files], each.add_prefix(name)
        data[f"{html_name}-bundle"] = rows[0].bundle_id
        data.setlist(f"{html_name}-shown", [row.public_id for row in rows])
    return data


def _attached(forms: Iterable[BaseForm | BaseFormSet[Any]]) -> Iterator[Attached]:
    """Each form's fields that have files, and these."""
    for form in forms:
        if isinstance(form, BaseFormSet):
            deleted = form.deleted_forms
            yield from _attached(kept for kept in form.forms if kept not in deleted)
            continue
        form.changed_data  # noqa: B018  # Remembered, while the files are there.
        for name, field in form.fields.items():
            if isinstance(field, AttachmentsField):
                value = form.cleaned_data.get(name)
                found = value if isinstance(value, list) else [value]
                files = [file for file in found if isinstance(file, AttachmentFile)]
                if files:
                    yield Attached(form, name, files)


def _submit(attached: Iterable[Attached]) -> None:
    """Remember each form's submission; raise `ClaimConflict` where one came between.

    Without JavaScript both of two clicks bring the files along, so that there are
    enough for two.
    """
    submitted = {}
    for form, name, files in attached:
        field = form.fields[name]
        if isinstance(field, AttachmentsField) and field.bundle is None:
            bundle = Bundle(access.current(), files[0].attachment.bundle_id)
            submitted[submissions.digest_of(bundle)] = field.times_submitted
    for digest, times in submitted.items():
        submissions.submit(digest, before=times)


def _check_unshared(attached: Iterable[Attached]) -> None:
    """Raise `ClaimConflict` where two fields have a file, which each would save."""
    seen: set[Attachment] = set()
    for each in attached:
        rows = {file.attachment for file in each.files}
        if seen & rows:
            shared = ClaimConflict(SHARED)
            _tell(shared, [each])
            raise shared
        seen |= rows


def _tell(error: AttachmentError, attached: Iterable[Attached]) -> None:
    """Let these fields show the error to the visitor."""
    for each in attached:
        each.form.add_error(each.name, ValidationError(str(error), error.code))


def _is_about_a_name(error: Exception, files: Iterable[AttachmentFile]) -> bool:
    """Whether a storage of the site can make no path of a name, such as `???`."""
    if isinstance(error, UnicodeEncodeError):
        # Of Python in a process that was started with LANG=C.
        return not all(str(file.name).isascii() for file in files)
    return not isinstance(error, OSError) or error.errno == errno.ENAMETOOLONG


def _are_gone(files: list[AttachmentFile]) -> bool:
    rows = Attachment.objects.primary().stored()
    if connections[rows.db].needs_rollback:
        return False  # Nobody can ask.
    there = rows.filter(pk__in=[file.attachment.pk for file in files])
    return there.count() < len(files)


def _remove(bundle: Bundle, row: Attachment) -> None:
    """Remove this very file, if it is still there."""

    def is_same(current: Attachment | None) -> None:
        if current != row:
            raise PreconditionFailed

    with contextlib.suppress(NotFound, PreconditionFailed):
        bundle.remove(row.name, precondition=is_same)
