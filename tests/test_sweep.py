"""How files go; whoever is killed, waits or comes at the same moment."""

import contextlib
import os
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import OperationalError, transaction
from django.utils import timezone

from session_attachments import storage, sweep
from session_attachments.bundles import Bundle
from session_attachments.conf import conf
from session_attachments.exceptions import Busy, ClaimConflict, SessionEnded
from session_attachments.models import Attachment, AttachmentQuerySet, State
from session_attachments.sweep import Report, outdated, remove_outdated
from tests.lifecycle import (
    DAY,
    LOCAL,
    MEMORY,
    MINIMAL,
    OLD_AGE,
    Minimal,
    assert_only,
    before,
    contents,
    crash_with,
    elsewhere,
    ends_with,
    files,
    in_parallel,
    new_bundle,
    put,
    read,
    states,
    sweep_all,
    use_storage,
)

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = timedelta(seconds=1)


@pytest.fixture(params=[LOCAL, "tests.lifecycle.Cabinet", MEMORY])
def any_storage(request, settings):
    use_storage(settings, request.param)


def age(rows, time):
    """Let these rows be older by `time`."""
    for row in rows:
        if row.created:
            row.created -= time
        row.modified -= time
        row.save()
    return rows


def old_file(bundle, name="old.txt", data=b"old\n"):
    """A file whose lifetime is over."""
    [row] = age([put(bundle, name, data)], conf.lifetime + SECOND)
    return row


def killed_upload(bundle, data=b"half"):
    """An upload whose process is gone; its row."""
    upload = bundle.upload(declared=100, name="killed")
    upload.__enter__()
    writer = upload.add("killed")
    writer.write(data)
    writer.sink.close()
    return writer.row


def in_future(time):
    return timezone.now() + time


def refuse_removal(monkeypatch, *keys):
    """Let these files, or all, be impossible to remove."""
    remove = storage.remove

    def refusing(alias, key):
        if not keys or key in keys:
            raise PermissionError
        remove(alias, key)

    monkeypatch.setattr(storage, "remove", refusing)


# -- expiry


def test_expire__what_is_older_than_its_lifetime(any_storage):
    bundle = new_bundle()
    row = put(bundle)
    end = row.created + conf.lifetime
    assert remove_outdated(now=end) == Report()
    assert_only(row)
    report = remove_outdated(now=end + timedelta(microseconds=1))
    assert report == Report(expired=1, removed=1, size=5)
    assert_only()


def test_expire__lifetime_is_an_argument():
    bundle = new_bundle()
    put(bundle)
    assert remove_outdated(lifetime=DAY).expired == 0
    assert remove_outdated(lifetime=timedelta(0)).expired == 1
    assert_only()


def test_expire__nothing_but_what_is_visible():
    """P5: neither what is being uploaded, nor what was claimed."""
    bundle = new_bundle()
    claimed = put(bundle, "claimed.txt")
    Attachment.objects.update(state=State.CLAIMED, name_digest=None)
    with bundle.upload(declared=4, name="a") as upload:
        writer = upload.add("a")
        writer.write(b"half")
        upload.beat()
        report = Report()
        sweep.expire(in_future(DAY), timezone.now(), report)
        assert report == Report()
        writer.finish()
        [row] = upload.publish()
    assert states() == {"stored": 1, "claimed": 1}
    assert files() == {row.key, claimed.key}


def test_expire__replacement_starts_anew():
    """P5: what was just replaced is as young as its replacement."""
    bundle = new_bundle()
    old_file(bundle)
    row = put(bundle, "old.txt", b"new\n")
    report = remove_outdated()
    assert report.expired == 0
    assert contents(bundle) == {"old.txt": b"new\n"}
    sweep_all()
    assert_only(row)


def test_expire__replaced_between_look_and_act(monkeypatch):
    """P5: the act has the condition, not only the look."""
    bundle = new_bundle()
    old_file(bundle)
    before(
        monkeypatch,
        sweep,
        "_take",
        lambda: elsewhere(lambda: put(bundle, "old.txt", b"new\n")),
    )
    assert remove_outdated().expired == 0
    assert contents(bundle) == {"old.txt": b"new\n"}


def test_expire__claimed_between_look_and_act(monkeypatch):
    """P5, P6."""
    bundle = new_bundle()
    row = old_file(bundle)
    copies = []

    def claim():
        with bundle.claim() as lent:
            copies.extend(file.read() for file in lent)

    before(monkeypatch, sweep, "_take", lambda: elsewhere(claim))
    assert remove_outdated().expired == 0
    assert copies == [b"old\n"]
    assert row.key not in files()


def test_expire__meets_a_replacement_in_flight():
    """P5: the old file ends, the new one is published all the same."""
    bundle = new_bundle()
    old_file(bundle, "a")
    with bundle.upload(declared=4, name="a") as upload:
        writer = upload.add("a")
        writer.write(b"new\n")
        assert elsewhere(remove_outdated).expired == 1
        writer.finish()
        upload.publish()
    assert contents(bundle) == {"a": b"new\n"}


def test_expire__races_replacement():
    """P5: whatever the order, the replacement is there."""
    bundles = [new_bundle() for _ in range(20)]
    for bundle in bundles:
        old_file(bundle)

    def replace():
        for bundle in bundles:
            put(bundle, "old.txt", b"new\n")

    def expire():
        return sum(remove_outdated().expired for _ in range(10))

    replaced, *expired = in_parallel(replace, expire, expire)
    assert replaced is None
    assert all(0 <= n <= 20 for n in expired)
    assert {read(bundle["old.txt"]) for bundle in bundles} == {b"new\n"}
    sweep_all()
    assert_only(*Attachment.objects.all())


def test_expire__leaves_what_is_being_claimed():
    """P5: also where a copy takes its time, and another claim of it has failed."""
    bundle = new_bundle()
    row = old_file(bundle)

    def fail():
        with ends_with(ZeroDivisionError), bundle.claim():
            raise ZeroDivisionError

    with ends_with(ZeroDivisionError), bundle.claim():
        elsewhere(fail)
        assert elsewhere(remove_outdated) == Report()
        assert elsewhere(sweep.outdated().count) == 0
        raise ZeroDivisionError
    assert_only(row)
    assert remove_outdated().expired == 0
    assert remove_outdated(now=timezone.now() + conf.request_timeout).expired == 1


def test_expire__takes_what_a_killed_claim_has_left():
    row = old_file(new_bundle())
    begun = timezone.now()
    Attachment.objects.update(lent=begun)
    assert remove_outdated(now=begun + conf.request_timeout).expired == 0
    assert_only(row)
    assert remove_outdated(now=begun + conf.request_timeout + SECOND).expired == 1


def test_expire__races_claim():
    """P6: a file is claimed or has expired, never both or neither."""
    bundles = [new_bundle() for _ in range(20)]
    for bundle in bundles:
        old_file(bundle)
        old_file(bundle, "egg.txt")

    def claim():
        taken = 0
        for bundle in bundles:
            with contextlib.suppress(ClaimConflict, Busy):
                with bundle.claim() as lent:
                    copies = [file.read() for file in lent]
                taken += len(copies)
        return taken

    def expire():
        return sum(remove_outdated().expired for _ in range(5))

    claimed, *expired = in_parallel(claim, expire, expire)
    assert claimed + sum(expired) + expire() == 40
    assert claimed % 2 == 0
    sweep_all()
    assert_only()


def test_expire__busy_batch_is_left_for_later(monkeypatch, caplog):
    monkeypatch.setattr(sweep, "BATCH", 2)
    bundle = new_bundle()
    for n in range(6):
        old_file(bundle, f"{n}")
    take, calls = sweep._take, []

    def busy(rows, found, now):
        calls.append(len(found))
        if len(calls) == 2:
            raise Busy
        return take(rows, found, now)

    monkeypatch.setattr(sweep, "_take", busy)
    report = remove_outdated()
    assert (report.expired, report.removed, report.failed) == (4, 4, 2)
    assert "left for later" in caplog.text
    assert remove_outdated().expired == 2
    assert_only()


@pytest.mark.parametrize("busy", ["_raw_delete", "doom"])
def test_sweep__rows_in_use_do_not_end_it(monkeypatch, caplog, busy):
    """Whatever the database cannot do now is counted, and the rest is done."""
    bundle = new_bundle()
    old_file(bundle, "a")
    killed_upload(bundle)
    monkeypatch.setattr("session_attachments.contention.ATTEMPTS", 1)
    now = timezone.now() + DAY
    with monkeypatch.context() as patch:
        patch.setattr(
            AttachmentQuerySet, busy, crash_with(OperationalError("is locked"))
        )
        report = remove_outdated(now=now)
    assert report.failed
    assert "left for later" in caplog.text
    remove_outdated()
    sweep_all()
    assert_only()


# -- abandoned uploads


def test_abandoned__bytes_go_at_once_and_the_row_when_its_writer_must_be_dead(
    any_storage,
):
    row = killed_upload(new_bundle())
    lapse = row.modified + conf.upload_lease
    assert remove_outdated(now=lapse) == Report()
    assert len(files()) == 1
    now = lapse + SECOND
    assert remove_outdated(now=now) == Report(abandoned=1, removed=1)
    assert files() == set()
    assert states() == {"doomed": 1}
    end = now + conf.request_timeout
    assert remove_outdated(now=end) == Report()
    assert states() == {"doomed": 1}
    remove_outdated(now=end + SECOND)
    assert_only()


def test_abandoned__timeout_counts_from_the_dooming():
    """Until then the writer could still see its row as its own."""
    killed_upload(new_bundle())
    now = in_future(10 * DAY)
    remove_outdated(now=now)
    assert states() == {"doomed": 1}
    remove_outdated(now=now + conf.request_timeout + SECOND)
    assert_only()


def test_abandoned__without_a_byte():
    upload = new_bundle().upload(declared=100, name="killed")
    upload.__enter__()
    sweep_all()
    assert_only()


def test_abandoned__writer_wakes_up_and_is_killed(any_storage):
    """P3: a file that appears after the sweep is found by the row that has stayed."""
    bundle = new_bundle()
    upload = bundle.upload(declared=100, name="a")
    upload.__enter__()
    remove_outdated(now=in_future(DAY / 2))
    assert states() == {"doomed": 1}
    writer = upload.add("a")
    writer.write(b"late")
    writer.finish()
    assert len(files()) == 1
    remove_outdated(now=in_future(DAY / 2))
    assert files() == set()
    assert states() == {"doomed": 1}
    sweep_all()
    assert_only()


def test_abandoned__writer_wakes_up_when_even_its_row_is_gone(any_storage):
    """It outlived the longest request, and leaves nothing all the same."""
    bundle = new_bundle()
    with ends_with(SessionEnded), bundle.upload(declared=4, name="a") as upload:
        sweep_all()
        writer = upload.add("a")
        writer.write(b"late")
        writer.finish()
        upload.publish()
    assert_only()


# -- doomed rows


def test_doomed__replaced_file_has_a_grace(any_storage):
    """For a reader that has found its row and has yet to open it."""
    bundle = new_bundle()
    found = put(bundle, data=b"old\n")
    new = put(bundle, data=b"new\n")
    doomed = Attachment.objects.get(state=State.DOOMED)
    end = doomed.modified + conf.grace
    assert remove_outdated(now=end) == Report()
    assert read(found) == b"old\n"
    assert remove_outdated(now=end + SECOND) == Report(removed=1, size=4)
    assert_only(new)


@pytest.mark.parametrize("end", [Bundle.clear, lambda bundle: bundle.remove("a")])
def test_doomed__what_its_visitor_removes_goes_at_once(any_storage, end):
    bundle = new_bundle()
    put(bundle, "a")
    end(bundle)
    assert_only()


@pytest.mark.parametrize("crash", ["before the removal", "before the row"])
def test_doomed__killed_in_the_removal_is_finished_later(
    any_storage, monkeypatch, crash
):
    """P3."""
    bundle = new_bundle()
    put(bundle, "a")
    with monkeypatch.context() as context:
        if crash == "before the removal":
            context.setattr(sweep, "remove", lambda *args: None)
        else:
            context.setattr(sweep, "delete_rows", lambda rows: None)
        bundle.clear()
    assert contents(bundle) == {}
    assert states() == {"doomed": 1}
    assert remove_outdated() == Report(), "within the grace"
    remove_outdated(now=in_future(DAY))
    assert_only()


def test_doomed__file_that_cannot_be_removed(monkeypatch, caplog):
    """It is counted; the rest goes on; the next sweep tries again."""
    bundle = new_bundle()
    rows = [old_file(bundle, f"{n}") for n in range(3)]
    with monkeypatch.context() as context:
        refuse_removal(context, rows[1].key)
        report = remove_outdated()
    assert report == Report(expired=3, removed=2, failed=1, size=8)
    assert "PermissionError" in caplog.text
    assert files() == {rows[1].key}
    assert remove_outdated(now=in_future(DAY)) == Report(removed=1, size=4)
    assert_only()


def test_doomed__storage_has_vanished_from_the_settings(settings, caplog):
    """The rest goes on, and so do that visitor's uploads."""
    bundle = new_bundle()
    for row in (put(bundle, "a"), old_file(bundle, "b")):
        Attachment.objects.filter(pk=row.pk).update(storage="attic")
    lost = files()
    old_file(bundle, "c")
    report = remove_outdated(lifetime=conf.lifetime)
    assert (report.expired, report.removed) == (2, 1)
    assert report.failed == 1
    assert "attic" in caplog.text
    put(bundle, "a", b"new\n")
    assert read(bundle["a"]) == b"new\n"
    assert states() == {"stored": 1, "doomed": 2}
    assert files() == lost | {bundle["a"].key}


def test_doomed__tombstone_is_written_once(django_assert_num_queries):
    """Until its writer must be dead a sweep looks at it, and changes nothing."""
    killed_upload(new_bundle())
    now = in_future(DAY / 2)
    remove_outdated(now=now)
    [row] = Attachment.objects.all()
    assert row.reserved == 0
    with django_assert_num_queries(1):
        sweep.remove([row], now, Report())


# -- many at once


def test_sweeps__at_once_count_everything_once():
    bundle = new_bundle()
    for n in range(40):
        old_file(bundle, f"{n}")
    for _ in range(3):
        killed_upload(new_bundle())
    kept = put(bundle)
    now = in_future(DAY / 2)
    reports = in_parallel(
        *[lambda n=n: remove_outdated(now=now + n * SECOND) for n in range(4)]
    )
    assert sum(report.expired for report in reports) == 40, reports
    assert sum(report.abandoned for report in reports) == 3
    assert all(report.failed == 0 for report in reports)
    sweep_all()
    assert_only(kept)


def test_sweeps__at_once_with_uploads():
    """P5: a sweep removes nothing of an upload that lives."""
    bundles = [new_bundle() for _ in range(3)]

    def store(bundle):
        return [put(bundle, f"{n}", b"%d" % n) for n in range(15)]

    def sweep_often():
        return [remove_outdated() for _ in range(15)]

    results = in_parallel(
        sweep_often, sweep_often, *[lambda b=bundle: store(b) for bundle in bundles]
    )
    assert [len(result) for result in results] == [15] * 5, results
    for bundle in bundles:
        assert contents(bundle) == {f"{n}": b"%d" % n for n in range(15)}
    assert_only(*Attachment.objects.all())


def test_doom__takes_only_what_nobody_took_first(monkeypatch):
    bundle = new_bundle()
    rows = [put(bundle, f"{n}") for n in range(3)]
    find = sweep._batches

    def find_slowly(found):
        for batch in find(found):
            Attachment.objects.filter(pk=rows[1].pk).doom(timezone.now() - DAY)
            yield batch

    monkeypatch.setattr(sweep, "_batches", find_slowly)
    doomed = sweep.doom(bundle.attachments(), timezone.now())
    assert {row.pk for row in doomed} == {rows[0].pk, rows[2].pk}


# -- flat memory


@pytest.mark.parametrize("count", [5, 6, 7])
def test_batches__are_small_and_complete(monkeypatch, count):
    monkeypatch.setattr(sweep, "BATCH", 3)
    bundle = new_bundle()
    for n in range(count):
        old_file(bundle, f"{n}")
    held, remove = [], sweep.remove

    def note(rows, *args, **kwargs):
        held.append(len(rows))
        remove(rows, *args, **kwargs)

    monkeypatch.setattr(sweep, "remove", note)
    told = []
    assert remove_outdated(advance=told.append).removed == count
    assert held == told
    assert max(held) == 3
    assert sum(held) == count
    assert_only()


def test_batches__of_doomed_rows(monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 3)
    bundle = new_bundle()
    for _ in range(8):
        put(bundle)
    told = []
    remove_outdated(now=in_future(DAY), lifetime=OLD_AGE, advance=told.append)
    assert told == [3, 3, 1]
    assert_only(*bundle.values())


def test_batches__of_rows_that_stay(monkeypatch):
    """Rows that wait for a writer's end do not make a sweep turn in circles."""
    monkeypatch.setattr(sweep, "BATCH", 2)
    bundle = new_bundle()
    for _ in range(4):
        killed_upload(bundle)
    told = []
    remove_outdated(now=in_future(DAY / 2), advance=told.append)
    assert told == [2, 2]
    assert states() == {"doomed": 4}


def test_clear__of_more_than_a_batch(monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 2)
    bundle = new_bundle()
    for n in range(5):
        put(bundle, f"{n}")
    assert bundle.clear() == 5
    assert_only()


# -- what no row leads to


def stray(*, joined, seconds):
    """A file without a row, last written so many seconds ago; its key."""
    key = storage.new_key(joined=joined)
    sink = storage.Sink(storage.alias(), key, direct=True)
    sink.finish()
    then = timezone.now().timestamp() - seconds
    os.utime(sink.path, (then, then))
    return sink.key


def test_strays__of_transactions_that_must_be_over():
    limit = conf.request_timeout.total_seconds()
    young = stray(joined=True, seconds=limit - 60)
    stray(joined=True, seconds=limit + 60)
    foreign = stray(joined=False, seconds=limit * 1000)
    assert remove_outdated() == Report(removed=1)
    assert files() == {young, foreign}


def test_strays__are_not_the_files_of_rows():
    with transaction.atomic():
        row = put(new_bundle())
    remove_outdated(lifetime=OLD_AGE, now=in_future(1000 * DAY))
    assert_only(row)


def test_strays__in_batches(monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 2)
    for _ in range(5):
        stray(joined=True, seconds=10**6)
    assert remove_outdated().removed == 5
    assert_only()


def test_strays__one_that_cannot_be_removed_keeps_no_other(monkeypatch, caplog):
    keys = sorted(stray(joined=True, seconds=10**6) for _ in range(4))
    with monkeypatch.context() as context:
        refuse_removal(context, keys[0], keys[2])
        assert remove_outdated() == Report(removed=2, failed=2)
    assert "PermissionError" in caplog.text
    assert files() == {keys[0], keys[2]}
    assert remove_outdated() == Report(removed=2)


def test_strays__storage_that_cannot_be_listed(monkeypatch, caplog):
    def fail(*args):
        raise ConnectionError

    monkeypatch.setattr(FileSystemStorage, "listdir", fail)
    old_file(new_bundle())
    assert remove_outdated() == Report(expired=1, removed=1, failed=1, size=4)
    assert "ConnectionError" in caplog.text


def test_strays__of_a_storage_that_only_python_code_chooses(settings):
    archive = settings.FOLDERS["media"] / "archive"
    settings.STORAGES = settings.STORAGES | {
        "archive": {"BACKEND": LOCAL, "OPTIONS": {"location": archive}}
    }
    with ends_with(ZeroDivisionError), transaction.atomic():
        new_bundle().save("a", ContentFile(b"a"), using="archive")
        raise ZeroDivisionError
    [left] = (path for path in archive.rglob("*") if path.is_file())
    os.utime(left, (0, 0))
    assert remove_outdated() == Report(removed=1)
    assert not left.exists()


def test_strays__of_a_storage_that_cannot_be_listed_at_all(settings):
    """Nothing is to be found there, and nothing has failed."""
    use_storage(settings, MINIMAL)
    row = put(new_bundle())
    assert remove_outdated(lifetime=timedelta(0)).expired == 1
    assert remove_outdated() == Report()
    assert row.key not in Minimal.kept


@pytest.mark.parametrize("options", [{}, {"spam": "eggs"}])
def test_strays__foreign_storage_that_does_not_work(settings, caplog, options):
    """It is told, and is no failure: the site may never choose that storage."""
    settings.STORAGES = settings.STORAGES | {
        "foreign": {"BACKEND": f"{__name__}.Unlisted", "OPTIONS": options}
    }
    stray(joined=True, seconds=10**6)
    assert remove_outdated() == Report(removed=1)
    assert "The strays of foreign could not be listed" in caplog.text
    Attachment.objects.filter(pk=put(new_bundle()).pk).update(storage="foreign")
    assert remove_outdated() == Report(failed=1)


class Unlisted(FileSystemStorage):
    """Somebody else's, who lets nobody look into it."""

    def listdir(self, path):
        raise PermissionError


def test_strays__temporary_files_of_killed_uploads(settings, monkeypatch, caplog):
    """P3: even where the storage has become another since."""
    use_storage(settings, MEMORY)
    row = killed_upload(new_bundle())
    Attachment.objects.all()._raw_delete("default")
    assert files() == {f"session-attachments-{row.key.rsplit('/', 1)[-1]}"}
    use_storage(settings, LOCAL)
    folder = settings.FOLDERS["uploads"]
    (folder / "session-attachments-folder").mkdir()
    assert remove_outdated(now=in_future(DAY / 2)) == Report()
    assert remove_outdated(now=in_future(2 * DAY)) == Report(removed=1)
    assert files() == {"session-attachments-folder"}


# -- inside a transaction of the caller's


def test_joined__nothing_goes_before_the_commit(any_storage):
    bundle = new_bundle()
    old_file(bundle)
    killed_upload(bundle)
    put(bundle, "new.txt")
    before_it = files()
    with ends_with(ZeroDivisionError), transaction.atomic():
        report = remove_outdated(now=in_future(DAY / 2))
        assert (report.expired, report.abandoned, report.removed) == (1, 1, 0)
        del bundle["new.txt"]
        assert files() == before_it
        raise ZeroDivisionError
    assert files() == before_it
    assert contents(bundle) == {"new.txt": b"spam\n", "old.txt": b"old\n"}
    with transaction.atomic():
        remove_outdated(now=in_future(DAY / 2))
        assert files() == before_it
    assert contents(bundle) == {"new.txt": b"spam\n"}
    sweep_all()
    assert_only(*bundle.values())


# -- a dry run


def test_outdated__is_what_would_be_removed():
    bundle = new_bundle()
    expected = {old_file(bundle), killed_upload(bundle)}
    put(bundle, "a", b"1")
    put(bundle, "a", b"2")
    now = in_future(DAY / 2)
    expected.add(Attachment.objects.get(state=State.DOOMED))
    assert set(outdated(now=now)) == expected
    assert set(outdated(now=now, lifetime=OLD_AGE)) == {
        row for row in expected if row.name != "old.txt"
    }
    assert set(outdated(lifetime=timedelta(0))) == set(bundle.attachments())


def test_time__may_be_naive(settings):
    settings.USE_TZ = False
    bundle = new_bundle()
    put(bundle)
    stray(joined=True, seconds=10**6)
    assert remove_outdated() == Report(removed=1)
    assert remove_outdated(lifetime=timedelta(0)).expired == 1
    assert_only()
