import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from session_attachments.models import Attachment, State
from tests.rows import DAY, HOUR, PIN, exists, make, unsaved

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/session_attachments/attachment/"


def staff(client, *permissions):
    """A member of the site's staff, logged in."""
    user = User.objects.create_user("staff", is_staff=True)
    chosen = Permission.objects.filter(
        content_type__app_label="session_attachments", codename__in=permissions
    )
    assert len(chosen) == len(permissions)
    user.user_permissions.set(chosen)
    client.force_login(user)
    return client


@pytest.fixture
def boss(client):
    """Somebody with all permissions."""
    client.force_login(User.objects.create_superuser("boss"))
    return client


def in_all_states(count=50):
    """Rows without files, as many bundles' and visitors' as there are."""
    states = list(State)
    Attachment.objects.bulk_create(
        unsaved(
            f"file-{n:03}.txt",
            states[n % len(states)],
            age=n * HOUR,
            bundle_id=f"bundle-{n}",
            session_key=f"{n:02}{PIN}"[:64],
            size=n * 1000,
        )
        for n in range(count)
    )
    return list(Attachment.objects.order_by("pk"))


def page(client, path, *, status=200, **data):
    response = client.get(path, data)
    assert response.status_code == status, response
    return response.content.decode()


def change(row):
    return f"{LIST}{row.pk}/change/"


def delete(row):
    return f"{LIST}{row.pk}/delete/"


def names(html):
    """Of the rows in a list, from top to bottom."""
    return re.findall(r'<th class="field-name[^"]*"><a [^>]*>([^<]*)</a>', html)


# -- the list


def test_list__shows_files_of_all_states_the_newest_first(boss):
    rows = in_all_states()
    html = page(boss, LIST)
    assert names(html) == [row.name for row in reversed(rows)]
    for word in ("uploading", "stored", "claimed", "to be removed", "bundle-49"):
        assert f">{word}</td>" in html


def test_list__has_columns_for_people(boss):
    make(data=b"x" * 1_600_000)
    html = page(boss, LIST)
    headings = re.findall(
        r'<th scope="col".*?<div class="text">(.*?)</div>', html, re.S
    )
    assert [re.sub("<[^>]+>", "", text).strip() for text in headings[1:]] == [
        "Name",
        "Bundle",
        "State",
        "Size",
        "Type",
        "Created",
    ]
    assert ">1.5\N{NO-BREAK SPACE}MB</td>" in html


def test_list__knows_the_size_of_complete_files_only(boss):
    make("part", State.UPLOADING)
    assert '<td class="field-readable_size">-</td>' in page(boss, LIST)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"state__exact": "claimed"}, ["claimed.png"]),
        ({"mimetype": "image/png"}, ["claimed.png"]),
        ({"storage": "session_attachments"}, ["new.txt", "old.txt", "claimed.png"]),
        ({"storage": "elsewhere"}, []),
        ({"created__isnull": "True"}, []),
        ({"q": "OLD"}, ["old.txt"]),
        ({"q": "compose-42"}, ["new.txt"]),
        ({"q": "nothing"}, []),
        ({"q": PIN[:8]}, []),
        ({"o": "4"}, ["new.txt", "claimed.png", "old.txt"]),
    ],
)
def test_list__is_filtered_searched_and_ordered(boss, query, found):
    make("claimed.png", State.CLAIMED, mimetype="image/png", age=9 * DAY, data=b"22")
    make("old.txt", age=9 * DAY, data=b"333")
    make("new.txt", bundle_id="compose-42", data=b"1")
    assert names(page(boss, LIST, **query)) == found


def test_list__offers_each_filter(boss):
    in_all_states()
    html = page(boss, LIST)
    for title in ("state", "created", "storage", "type"):
        assert f"By {title}" in html
    links = re.findall(r'href="(\?created__[^"]+)"', html)
    assert len(links) == 6
    for link in links:
        page(boss, LIST + link.replace("&amp;", "&"))


@pytest.mark.parametrize(
    "column", ["session_key", "key", "bundle_digest", "name_digest", "reserved"]
)
@pytest.mark.parametrize("lookup", ["", "__startswith", "__gt"])
def test_list__is_not_filtered_by_what_is_not_shown(boss, column, lookup):
    """Else one could guess a column, character by character."""
    row = make()
    response = boss.get(LIST, {column + lookup: getattr(row, column)})
    assert response.status_code == 400


def test_list__takes_as_many_queries_for_few_as_for_many(boss):
    def queries(**data):
        with CaptureQueriesContext(
            connection,
        ) as captured:
            page(boss, LIST, **data)
        return len(captured)

    in_all_states(2)
    page(boss, LIST)  # what is loaded once
    few = [queries(), queries(q="file"), queries(state__exact="stored")]
    Attachment.objects.all()._raw_delete(connection.alias)
    in_all_states(99)
    assert [queries(), queries(q="file"), queries(state__exact="stored")] == few
    assert max(few) < 10


def test_list__counts_only_what_was_asked_for(boss):
    in_all_states()
    with CaptureQueriesContext(connection) as captured:
        page(boss, LIST, q="file-01")
    counts = [query for query in captured if "COUNT(*)" in query["sql"]]
    assert len(counts) == 1


# -- one file


def test_detail__of_every_state(boss):
    for row in in_all_states():
        html = page(boss, change(row))
        assert row.name in html
        assert row.public_id in html
        assert row.get_state_display() in html


def test_detail__can_be_read_only(boss):
    html = page(boss, change(make()))
    fields = re.findall(r'<(?:input|textarea|select)[^>]* name="(\w+)"', html)
    assert set(fields) <= {"csrfmiddlewaretoken", "next"}
    assert "_save" not in html


def test_names__are_escaped(boss):
    name = "<script>alert(1)</script>.txt"
    row = make(name, bundle_id="<b>&")
    for path in (LIST, change(row), delete(row)):
        html = page(boss, path)
        assert name not in html
        assert escape(name) in html


# -- what nobody may see


def test_pages__show_no_session_no_place_and_no_way_to_the_file(boss):
    row = make()
    boss.post(delete(make("gone.txt")), {"post": "yes"})
    pages = [
        page(boss, "/admin/"),
        page(boss, "/admin/session_attachments/"),
        page(boss, LIST),
        page(boss, LIST, q="spam"),
        page(boss, change(row)),
        page(boss, delete(row)),
        page(boss, f"{LIST}{row.pk}/history/"),
        boss.post(
            LIST, {"action": "delete_selected", "_selected_action": [row.pk]}
        ).content.decode(),
    ]
    attachment = reverse("get-filename-attachment", args=["foo", "spam.txt"])
    for html in pages:
        for secret in (
            PIN,
            row.key,
            row.key.rpartition("/")[2],
            row.bundle_digest,
            row.name_digest,
            str(boss.session.session_key),
            attachment,
        ):
            assert secret not in html
        assert "download" not in html.lower()
        assert "session_key" not in html
    assert sum("spam.txt" in html for html in pages) == 6


def test_log__keeps_the_name_only(boss):
    row = make()
    boss.post(delete(row), {"post": "yes"})
    [entry] = LogEntry.objects.values("object_repr", "change_message")
    assert entry == {"object_repr": "spam.txt", "change_message": ""}


# -- deletion


def test_delete__one_removes_row_and_bytes(boss):
    row, other = make(), make("egg.txt")
    response = boss.post(delete(row), {"post": "yes"})
    assert response.status_code == 302
    assert [left.pk for left in Attachment.objects.all()] == [other.pk]
    assert (exists(row), exists(other)) == (False, True)


@pytest.mark.parametrize("state", State)
def test_delete__selected_removes_rows_and_bytes(boss, state):
    rows = [make(f"{n}.txt", state, age=HOUR) for n in range(5)]
    other = make("other.txt", age=HOUR)
    selected = {
        "action": "delete_selected",
        "_selected_action": [row.pk for row in rows],
    }
    assert boss.post(LIST, selected).status_code == 200
    assert all(map(exists, rows))
    response = boss.post(LIST, selected | {"post": "yes"}, follow=True)
    assert "Successfully deleted 5 attachments" in response.content.decode()
    # A writer may still be at it: then the sweep ends what was begun.
    call_command("remove_outdated_attachments", verbosity=0)
    assert not any(map(exists, rows))
    assert exists(other)
    left = Attachment.objects.exclude(pk=other.pk)
    assert {(row.state, row.reserved) for row in left} <= {(State.DOOMED, 0)}
    assert len(left) == (0 if state in (State.STORED, State.CLAIMED) else 5)


def test_delete__that_is_killed_leaves_a_trace(boss, monkeypatch):
    """The bytes go when the deletion is committed. Before that there is a tombstone."""
    row = make(age=HOUR)
    monkeypatch.setattr("session_attachments.sweep.remove", lambda *args: None)
    boss.post(delete(row), {"post": "yes"})
    monkeypatch.undo()
    [tombstone] = Attachment.objects.all()
    assert (tombstone.state, tombstone.key) == (State.DOOMED, row.key)
    assert tombstone.name_digest is None
    assert exists(row)
    Attachment.objects.update(modified=tombstone.modified - HOUR)
    call_command("remove_outdated_attachments", verbosity=0)
    assert not exists(row)
    assert not Attachment.objects.exists()


# -- permissions


@pytest.mark.parametrize(
    "permissions",
    [
        [],
        ["add_attachment", "change_attachment", "delete_attachment", "view_attachment"],
    ],
)
def test_add_and_change__are_refused(client, permissions):
    row = make()
    staff(client, *permissions)
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(f"{LIST}add/", {"name": "egg.txt"}).status_code == 403
    assert client.post(change(row), {"name": "egg.txt"}).status_code == 403
    assert Attachment.objects.get().name == "spam.txt"


def test_add_and_change__are_refused_even_to_the_boss(boss):
    row = make()
    assert boss.get(f"{LIST}add/").status_code == 403
    assert boss.post(f"{LIST}add/", {"name": "egg.txt"}).status_code == 403
    assert boss.post(change(row), {"name": "egg.txt"}).status_code == 403
    assert f"{LIST}add/" not in page(boss, "/admin/")
    assert Attachment.objects.get().name == "spam.txt"


def test_stranger__is_sent_to_the_login(client):
    row = make()
    for path in (LIST, change(row), delete(row)):
        for response in (client.get(path), client.post(path, {"post": "yes"})):
            assert response.status_code == 302
            assert response["Location"].startswith("/admin/login/")
    assert exists(row)


def test_staff__without_permission_is_refused(client):
    row = make()
    staff(client)
    for path in (LIST, change(row), delete(row)):
        assert client.get(path).status_code == 403
        assert client.post(path, {"post": "yes"}).status_code == 403
    assert exists(row)


def test_staff__who_may_view_cannot_delete(client):
    row = make()
    staff(client, "view_attachment")
    assert "delete" not in page(client, LIST).lower()
    assert page(client, change(row))
    assert client.post(delete(row), {"post": "yes"}).status_code == 403
    selected = {"action": "delete_selected", "_selected_action": [row.pk]}
    client.post(LIST, selected | {"post": "yes"})
    assert exists(row)
    assert Attachment.objects.get().state == State.STORED


def test_staff__who_may_delete_can(client):
    row = make()
    staff(client, "view_attachment", "delete_attachment")
    assert client.post(delete(row), {"post": "yes"}).status_code == 302
    assert not exists(row)
