"""How files leave for the site's own models: all or none, once (P6)."""

import contextlib

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from session_attachments import storage, sweep
from session_attachments.bundles import Bundle
from session_attachments.exceptions import Busy, ClaimConflict, StorageFailed
from session_attachments.models import Attachment, State
from session_attachments.sweep import remove_outdated
from tests.lifecycle import (
    DAY,
    LOCAL,
    MEMORY,
    OLD_AGE,
    assert_only,
    before,
    contents,
    elsewhere,
    ends_with,
    files,
    in_parallel,
    new_bundle,
    put,
    states,
    sweep_all,
    use_storage,
)
from tests.mailbox.models import Ticket

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=[LOCAL, "tests.lifecycle.Cabinet", MEMORY])
def any_storage(request, settings):
    use_storage(settings, request.param)


@pytest.fixture
def bundle():
    """A bundle with two files."""
    bundle = new_bundle()
    put(bundle, "spam.txt", b"spam\n")
    put(bundle, "egg.txt", b"egg\n")
    return bundle


def submit(bundle, prefix=""):
    """What a site does: keep a copy of each file in a row of its own."""
    with bundle.claim() as lent:
        return [
            Group.objects.create(name=prefix + file.read().decode()) for file in lent
        ]


def kept():
    """What the site has."""
    return sorted(Group.objects.values_list("name", flat=True))


def test_claim__lends_the_files_sorted_by_name(any_storage, bundle):
    with bundle.claim() as lent:
        assert [(file.name, file.size, file.content_type) for file in lent] == [
            ("egg.txt", 4, "text/plain"),
            ("spam.txt", 5, "text/plain"),
        ]
        assert [file.read() for file in lent] == [b"egg\n", b"spam\n"]


def test_claim__closes_the_files(bundle):
    with bundle.claim() as lent:
        assert not any(file.closed for file in lent)
    assert all(file.closed for file in lent)


def test_claim__leaves_nothing(any_storage, bundle):
    submit(bundle)
    assert kept() == ["egg\n", "spam\n"]
    assert contents(bundle) == {}
    assert_only()


def test_claim__takes_one_bundle_of_one_visitor(bundle):
    other = Bundle(bundle.session, "bar")
    stranger = new_bundle()
    rows = [put(other), put(stranger)]
    submit(bundle)
    assert contents(other) == contents(stranger) == {"spam.txt": b"spam\n"}
    assert_only(*rows)


def test_claim__of_an_empty_bundle():
    assert submit(new_bundle()) == []


def test_claim__a_second_time_finds_nothing(bundle):
    assert len(submit(bundle)) == 2
    assert submit(bundle) == []
    assert kept() == ["egg\n", "spam\n"]


def test_claim__exception_in_the_block_gives_all_back(any_storage, bundle):
    with ends_with(ZeroDivisionError), bundle.claim() as lent:
        Group.objects.create(name="lost")
        assert lent[0].read()
        raise ZeroDivisionError
    assert kept() == []
    assert contents(bundle) == {"egg.txt": b"egg\n", "spam.txt": b"spam\n"}
    assert len(submit(bundle)) == 2


def test_claim__rollback_of_the_callers_transaction_gives_all_back(bundle):
    with ends_with(ZeroDivisionError), transaction.atomic():
        submit(bundle)
        assert contents(bundle) == {}
        raise ZeroDivisionError
    assert kept() == []
    assert len(submit(bundle)) == 2


def test_claim__joins_the_callers_transaction(bundle):
    with transaction.atomic():
        submit(bundle)
        assert len(files()) == 2, "until the commit they may be given back"
        Group.objects.create(name="one more")
    assert len(kept()) == 3
    assert_only()


def test_claim__that_conflicts_leaves_the_callers_transaction_usable(bundle):
    with transaction.atomic():
        Group.objects.create(name="before")
        with ends_with(ClaimConflict), bundle.claim():
            Group.objects.create(name="inside")
            Attachment.objects.filter(name="egg.txt").doom(timezone.now())
        Group.objects.create(name="after")
    assert kept() == ["after", "before"]
    assert contents(bundle) == {"egg.txt": b"egg\n", "spam.txt": b"spam\n"}


MEANWHILE = {
    "replaced": lambda bundle: put(bundle, "egg.txt", b"new\n"),
    "removed": lambda bundle: bundle.remove("egg.txt"),
    "cleared": lambda bundle: bundle.clear(),
    "claimed": lambda bundle: submit(bundle, "other "),
    "expired": lambda bundle: remove_outdated(now=timezone.now() + 100 * DAY),
    "deleted": lambda bundle: Attachment.objects.filter(name="egg.txt").delete(),
}


@pytest.mark.parametrize("change", MEANWHILE.values(), ids=MEANWHILE)
def test_claim__of_a_file_that_has_changed_meanwhile_takes_none(bundle, change):
    """All of the block is undone, whoever was faster and whatever has become of it."""
    with ends_with(ClaimConflict), bundle.claim() as lent:
        copies = [file.read().decode() for file in lent]
        elsewhere(lambda: change(bundle))
        left = contents(bundle)
        for copy in copies:
            Group.objects.create(name=copy)
    assert [name for name in kept() if not name.startswith("other ")] == []
    assert contents(bundle) == left
    sweep_all()
    assert_only(*bundle.values())


def test_claim__of_a_bundle_that_grows_meanwhile_leaves_the_rest(bundle):
    with bundle.claim() as lent:
        names = [file.name for file in lent]
        row = elsewhere(lambda: put(bundle, "ham.txt"))
    assert names == ["egg.txt", "spam.txt"]
    assert_only(row)


def test_claim__file_that_goes_before_it_is_opened(bundle, monkeypatch):
    before(monkeypatch, storage, "open_key", lambda: elsewhere(bundle.clear))
    with pytest.raises(ClaimConflict):
        submit(bundle)
    assert kept() == []


def test_claim__storage_that_fails_takes_none(bundle, monkeypatch):
    def fail(*args):
        raise StorageFailed

    with monkeypatch.context() as context:
        context.setattr(storage, "open_key", fail)
        with pytest.raises(StorageFailed):
            submit(bundle)
    assert len(submit(bundle)) == 2


def test_claim__holds_no_lock_while_the_block_copies(bundle):
    """A long copy lets others work: in the same bundle, too."""
    with bundle.claim() as lent:
        for file in lent:
            file.read()
        elsewhere(lambda: put(bundle, "ham.txt"))
        elsewhere(lambda: put(new_bundle()))
        elsewhere(remove_outdated)


def test_claim__locks_nothing_while_the_block_copies_in_a_transaction(bundle):
    """Not even to say that the files are needed."""
    with transaction.atomic():
        with CaptureQueriesContext(connection) as queries, bundle.claim() as lent:
            before = [query["sql"] for query in queries]
        assert lent
    assert before
    assert not any(sql.startswith("UPDATE") for sql in before)


@pytest.mark.parametrize("claimers", [2, 4])
def test_claim__exactly_one_of_several_wins(claimers):
    bundles = [new_bundle() for _ in range(5)]
    for bundle in bundles:
        put(bundle, "a", b"a")
        put(bundle, "b", b"b")

    def claim_all(claimer):
        won = []
        for n, bundle in enumerate(bundles):
            with contextlib.suppress(ClaimConflict, Busy, OperationalError):
                won += [group.name for group in submit(bundle, f"{claimer}/{n}/")]
        return won

    results = in_parallel(*[lambda n=n: claim_all(n) for n in range(claimers)])
    won = sorted(name for names in results for name in names)
    assert kept() == won
    assert sorted(name.partition("/")[2] for name in won) == [
        f"{n}/{file}" for n in range(5) for file in "ab"
    ]
    assert_only()


def test_claim__races_with_replacement():
    """The old file is claimed and then the new one is stored, or none is claimed."""
    bundles = [new_bundle() for _ in range(15)]
    for bundle in bundles:
        put(bundle, "a", b"old a")
        put(bundle, "b", b"old b")

    def replace():
        return [put(bundle, "a", b"new a") for bundle in bundles]

    def claim():
        won = []
        for n, bundle in enumerate(bundles):
            try:
                won.append([group.name for group in submit(bundle, f"{n} ")])
            except (ClaimConflict, Busy):
                won.append([])
        return won

    replaced, claimed = in_parallel(replace, claim)
    assert len(replaced) == 15, replaced
    for n, (bundle, won) in enumerate(zip(bundles, claimed, strict=True)):
        left = contents(bundle)
        if not won:
            assert left == {"a": b"new a", "b": b"old b"}
        elif f"{n} new a" in won:
            assert (len(won), left) == (2, {})
        else:
            assert won == [f"{n} old a", f"{n} old b"]
            assert left == {"a": b"new a"}
    sweep_all()
    assert_only(*Attachment.objects.all())


def test_claim__killed_after_the_commit_is_finished_by_the_sweep(bundle, monkeypatch):
    """P3: the site has its copies, and the originals go."""
    with monkeypatch.context() as context:
        context.setattr(sweep, "remove", lambda *args: None)
        submit(bundle)
    assert contents(bundle) == {}
    assert states() == {"doomed": 2}
    assert len(files()) == 2
    remove_outdated(now=timezone.now() + DAY, lifetime=OLD_AGE)
    assert_only()


def test_claim__is_busy_where_the_database_cannot_decide(bundle):
    """For instance a deadlock: only all of the caller's transaction can be repeated."""

    def deadlock(execute, sql, params, many, context):
        if sql.startswith("UPDATE"):
            raise OperationalError("deadlock")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(deadlock), pytest.raises(Busy):
        submit(bundle)
    assert kept() == []
    assert len(submit(bundle)) == 2


def test_claim__given_to_an_object_and_taken_back(bundle):
    """The block goes on as if it had the files, and they are still the visitor's."""
    ticket = Ticket.objects.create(title="Broken")
    with ends_with(ClaimConflict), bundle.claim() as lent:
        for file in lent:
            with contextlib.suppress(ZeroDivisionError), transaction.atomic():
                file.attachment.claim_for(ticket, "attachments")
                raise ZeroDivisionError
    assert len(bundle) == 2
    assert not ticket.attachments.exists()


def test_claim__reads_where_rows_are_written(bundle, settings):
    settings.DATABASE_ROUTERS = ["tests.test_models.Replicas"]
    with bundle.claim() as lent:
        assert len(lent) == 2
    assert not Attachment.objects.primary().filter(state=State.STORED)
