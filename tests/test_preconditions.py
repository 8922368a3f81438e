"""What a request expects to find."""

from datetime import datetime, timedelta, timezone

import pytest
from django.test import RequestFactory
from django.utils.http import http_date

from session_attachments.exceptions import PreconditionFailed
from session_attachments.models import Attachment
from session_attachments.preconditions import check_bundle, of_change

#: Its Last-Modified is the whole second.
TIME = datetime(2026, 11, 20, 12, 0, 0, 999_999, tzinfo=timezone.utc)
ROW = Attachment(public_id="abc", created=TIME)
OTHER = Attachment(public_id="def")

HOLDS, FAILS = True, False

ON_TIME = "Fri, 20 Nov 2026 12:00:00 GMT"
LATER = "Fri, 20 Nov 2026 12:00:01 GMT"
EARLIER = "Fri, 20 Nov 2026 11:59:59 GMT"


@pytest.mark.parametrize(
    ("headers", "current", "holds"),
    [
        ({}, None, HOLDS),
        ({}, ROW, HOLDS),
        ({"if-match": '"abc"'}, ROW, HOLDS),
        ({"if-match": '"abc"'}, OTHER, FAILS),
        ({"if-match": '"abc"'}, None, FAILS),
        ({"if-match": '"x", "abc" ,"y"'}, ROW, HOLDS),
        ({"if-match": "*"}, ROW, HOLDS),
        ({"if-match": "*"}, None, FAILS),
        ({"if-match": 'W/"abc"'}, ROW, FAILS),
        ({"if-match": "abc"}, ROW, FAILS),
        ({"if-match": ""}, ROW, FAILS),
        ({"if-none-match": "*"}, None, HOLDS),
        ({"if-none-match": "*"}, ROW, FAILS),
        ({"if-none-match": '"abc"'}, None, HOLDS),
        ({"if-none-match": '"abc"'}, OTHER, HOLDS),
        ({"if-none-match": '"abc"'}, ROW, FAILS),
        ({"if-none-match": '"x", W/"abc"'}, ROW, FAILS),
        ({"if-match": '"abc"', "if-none-match": '"def"'}, ROW, HOLDS),
        ({"if-match": '"abc"', "if-none-match": '"abc"'}, ROW, FAILS),
        ({"if-unmodified-since": ON_TIME}, ROW, HOLDS),
        ({"if-unmodified-since": LATER}, ROW, HOLDS),
        ({"if-unmodified-since": EARLIER}, ROW, FAILS),
        ({"if-unmodified-since": EARLIER}, None, HOLDS),
        ({"if-unmodified-since": "Friday, 20-Nov-26 11:59:59 GMT"}, ROW, FAILS),
        ({"if-unmodified-since": "Fri Nov 20 11:59:59 2026"}, ROW, FAILS),
        ({"if-unmodified-since": "2026-11-20T11:59:59Z"}, ROW, HOLDS),
        ({"if-unmodified-since": ""}, ROW, HOLDS),
        ({"if-unmodified-since": EARLIER, "if-match": '"abc"'}, ROW, HOLDS),
        ({"if-unmodified-since": LATER, "if-match": '"def"'}, ROW, FAILS),
        ({"if-unmodified-since": EARLIER, "if-none-match": '"def"'}, ROW, FAILS),
        ({"if-unmodified-since": LATER, "if-none-match": '"abc"'}, ROW, FAILS),
        ({"if-modified-since": LATER}, ROW, HOLDS),
    ],
)
def test_of_change(headers, current, holds):
    check = of_change(RequestFactory().put("/", headers=headers))
    if holds:
        check(current)
    else:
        with pytest.raises(PreconditionFailed):
            check(current)


def test_of_change__time_of_a_site_without_time_zones(settings):
    settings.USE_TZ = False
    row = Attachment(public_id="abc", created=datetime.now())  # noqa: DTZ005
    past = http_date((row.created - timedelta(seconds=1)).timestamp())
    for date, holds in ((past, FAILS), (http_date(), HOLDS)):
        request = RequestFactory().put("/", headers={"if-unmodified-since": date})
        if holds:
            of_change(request)(row)
        else:
            with pytest.raises(PreconditionFailed):
                of_change(request)(row)


@pytest.mark.parametrize(
    ("headers", "holds"),
    [
        ({}, HOLDS),
        ({"if-match": "*"}, HOLDS),
        ({"if-match": " * "}, HOLDS),
        ({"if-match": '"abc"'}, FAILS),
        ({"if-match": 'W/"abc"'}, FAILS),
        ({"if-match": "abc"}, FAILS),
        ({"if-match": ""}, FAILS),
        ({"if-none-match": "*"}, FAILS),
        ({"if-none-match": '"abc"'}, HOLDS),
        ({"if-match": "*", "if-none-match": "*"}, FAILS),
        ({"if-unmodified-since": EARLIER}, HOLDS),
    ],
)
def test_check_bundle(headers, holds):
    request = RequestFactory().post("/", headers=headers)
    if holds:
        check_bundle(request)
    else:
        with pytest.raises(PreconditionFailed):
            check_bundle(request)
