"""The form widget: a custom element, around what works without JavaScript."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.forms.widgets import Script, Widget
from django.http.request import HttpHeaders
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from . import access, submissions
from .bundles import Bundle
from .conf import conf
from .exceptions import BadBundle
from .names import checked_bundle_id

#: What the element says. `{name}`, `{limit}`, … are filled in by its script, which has
#: the English texts as well, for elements that are written by hand.
TEXTS = {
    "add": _("Add files"),
    "addOne": _("Choose a file"),
    "addFolder": _("Add a folder"),
    "drop": _("or drop them here, or paste an image"),
    "dropOne": _("or drop it here, or paste an image"),
    "maxFiles": _("Up to {limit} files"),
    "maxSize": _("Up to {limit} each"),
    "maxSizeOne": _("Up to {limit}"),
    "images": _("images"),
    "audio": _("audio"),
    "videos": _("videos"),
    "text": _("text"),
    "files": _("Attached files"),
    "progress": _("Upload of {name}"),
    "waiting": _("Waiting"),
    "offline": _("Waiting for the connection"),
    "saving": _("Saving…"),
    "retrying": _("Trying again in {time}"),
    "stored": _("Uploaded"),
    "removing": _("Removing…"),
    "cancel": _("Cancel {name}"),
    "remove": _("Remove {name}"),
    "retry": _("Retry {name}"),
    "dismiss": _("Dismiss {name}"),
    "started": _("{name} is being uploaded"),
    "finished": _("{name} has been uploaded"),
    "replaced": _("{name} has been replaced"),
    "failed": _("{name}: {reason}"),
    "removed": _("{name} has been removed"),
    "cancelled": _("{name} has been cancelled"),
    "startedMany": _("Files being uploaded: {count}"),
    "finishedMany": _("Files uploaded: {count}"),
    "failedMany": _("Files that could not be uploaded: {count}"),
    "tooLarge": _("The file is larger than {limit}."),
    "tooMany": _("There can be {limit} files at most."),
    "onlyOne": _("There can be only one file."),
    "wrongType": _("Files of this type are not accepted. Accepted: {types}."),
    "badName": _("The file has no usable name."),
    "unreadable": _("The file cannot be read. Has it been moved or changed?"),
    "connection": _("The server cannot be reached."),
    "refused": _("The server refused the file ({status})."),
    "tooLargeForServer": _("The file is too large for the server."),
    "lost": _("The file is no longer on the server."),
    "notRemoved": _("The file could not be removed."),
    "required": _("This field is required."),
    "noList": _("Your files cannot be listed."),
    "submitting": _("The form is sent as soon as all files are uploaded."),
    "hold": _("Do not send yet"),
    "undecided": _("Not sent yet: not all files are uploaded."),
    "changed": _("Not sent yet: the files have changed. Check them, then send again."),
    "tryAgain": _("Try again"),
    "goOn": _("Go on without them"),
}


@dataclass(frozen=True)
class Submission:
    """What a form sends of one field.

    `bundle_id` is empty where what was sent cannot be one. `shown` are the public ids
    of the files that the visitor saw, `removals` of those to be removed, `uploads` what
    comes with the form itself, without JavaScript. `clear` and `initial` are about the
    file that an object has already.
    """

    bundle_id: str
    shown: frozenset[str] = frozenset()
    removals: frozenset[str] = frozenset()
    uploads: tuple[UploadedFile[Any], ...] = ()
    clear: bool = False
    initial: Any = None


class AttachmentsWidget(Widget):
    """Shows the files of one bundle, and lets the visitor change them.

    `field` is the field of the form, which knows what it allows, and `fresh` the id of
    a bundle that no other form has; the field sets both.
    """

    template_name = "session_attachments/widgets/attachments.html"
    needs_multipart_form = True
    multiple = True
    field: Any
    fresh: str

    class Media:
        css = {"all": ["session_attachments/attachments.css"]}
        js = [Script("session_attachments/attachments.js", type="module")]

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Submission:
        return Submission(
            self.field.bundle or _bundle_id(data.get(f"{name}-bundle"), self.fresh),
            frozenset(_texts(data, f"{name}-shown")),
            frozenset(_texts(data, f"{name}-remove")),
            tuple(_all(files, name)),
            clear=f"{name}-clear" in data,
        )

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return f"{name}-bundle" not in data and name not in files

    def id_for_label(self, id_: str) -> str:
        return id_

    def use_required_attribute(self, initial: Any) -> bool:
        # The browser would ask for a file in an input that stays empty.
        return False

    def get_context(
        self, name: str, value: Any, attrs: dict[str, Any] | None
    ) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(name, None, attrs)
        bundle = self._shown(value)
        view = f"{conf.url_namespace}:bundle-attachments".lstrip(":")
        texts = {key: str(text) for key, text in {**TEXTS, **self.field.texts}.items()}
        max_files = _least(self.field.max_files, conf.max_files)
        max_size = _least(self.field.max_bytes, conf.max_file_size)
        context["widget"] |= {
            "multiple": self.multiple,
            "drop": context["widget"]["attrs"].pop("drop", ""),
            "bundle_name": f"{name}-bundle",
            "shown_name": f"{name}-shown",
            "remove_name": f"{name}-remove",
            "remove_label": _("Remove"),
            "bundle_id": bundle.id,
            "is_drawn": not self.field.bundle,
            "is_fresh": bundle.id == self.fresh,
            "files": bundle.values(),
            "url": reverse(view, kwargs={"bundle_id": bundle.id}),
            "max_files": max_files,
            "max_size": max_size,
            "limits": " · ".join(self._limits(texts, max_files, max_size)),
            "accept": ",".join(self.field.allowed_types or conf.allowed_types or ()),
            "required": self.field.required,
            "texts": json.dumps(texts),
            "csrf_cookie": ""
            if settings.CSRF_USE_SESSIONS
            else settings.CSRF_COOKIE_NAME,
            "csrf_header": HttpHeaders.parse_header_name(settings.CSRF_HEADER_NAME),
        }
        return context

    def _limits(
        self, texts: dict[str, str], max_files: int | None, max_size: int | None
    ) -> Iterator[str]:
        """The limits in words, as the element shows them."""
        if self.multiple and max_files is not None:
            text = texts["onlyOne" if max_files == 1 else "maxFiles"]
            yield text.replace("{limit}", str(max_files))
        if max_size is not None:
            text = texts["maxSize" if self.multiple else "maxSizeOne"]
            yield text.replace("{limit}", filesizeformat(max_size))

    def _shown(self, value: Any) -> Bundle:
        """The bundle that the form goes on with.

        A fresh one, where the form's cannot be one, or has been submitted already: so
        the visitor can submit again who means it.
        """
        session = access.current()
        bundle_id = self.field.bundle
        if not bundle_id and isinstance(value, Submission):
            bundle = Bundle(session, value.bundle_id or self.fresh)
            is_spent = submissions.times_submitted(bundle) and not bundle
            bundle_id = None if is_spent else bundle.id
        return Bundle(session, bundle_id or self.fresh)


class AttachmentWidget(AttachmentsWidget):
    """Shows one file, and before it the one that the form's object has already."""

    template_name = "session_attachments/widgets/attachment.html"
    multiple = False

    def get_context(
        self, name: str, value: Any, attrs: dict[str, Any] | None
    ) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        initial = value.initial if isinstance(value, Submission) else value
        if initial:
            context["widget"] |= {
                "initial": Path(str(initial)).name,
                "required": False,
                "clearable": not self.field.required,
                "initial_label": _("Currently"),
                "clear_name": f"{name}-clear",
                "clear_label": _("Clear"),
            }
        return context


def _bundle_id(sent: Any, fresh: str) -> str:
    """What was sent, if it is the id of a bundle that a URL can have, or empty.

    Fresh where nothing was sent: whoever writes a form by hand may leave it out.
    """
    if sent is None:
        return fresh
    if not isinstance(sent, str):
        return ""
    try:
        return checked_bundle_id(sent)
    except BadBundle:
        return ""


def _all(data: Any, name: str) -> Iterable[Any]:
    """All values of a form's data or files, which may be a plain dict in a test."""
    if hasattr(data, "getlist"):
        return data.getlist(name)  # type: ignore[no-any-return]
    value = data.get(name)
    return value if isinstance(value, list | tuple) else [value] if value else []


def _texts(data: Any, name: str) -> Iterable[str]:
    return (each for each in _all(data, name) if isinstance(each, str))


def _least(*limits: int | None) -> int | None:
    """The limit that is hit first; None where there is none."""
    return min((limit for limit in limits if limit is not None), default=None)
