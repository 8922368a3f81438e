"""Submissions: each is counted once, whoever is how fast."""

import pytest
from django.db import connections, transaction

from session_attachments import submissions
from session_attachments.exceptions import Busy, ClaimConflict
from session_attachments.models import SubmittedBundle
from session_attachments.names import new_bundle_id
from tests.lifecycle import ends_with, in_parallel, new_bundle

pytestmark = pytest.mark.django_db(transaction=True)


def test_digest__of_a_drawn_id_is_the_same_for_all():
    drawn = new_bundle_id()
    for bundle_id in drawn, f"{drawn}-12":
        first, second = new_bundle(bundle_id), new_bundle(bundle_id)
        assert submissions.digest_of(first) == submissions.digest_of(second)


@pytest.mark.parametrize("bundle_id", ["draft", "a" * 31, "a" * 33, f"{'a' * 32}-x"])
def test_digest__of_another_id_is_the_visitors(bundle_id):
    first, second = new_bundle(bundle_id), new_bundle(bundle_id)
    assert submissions.digest_of(first) != submissions.digest_of(second)


def test_submit__is_counted():
    bundle, other = new_bundle("foo"), new_bundle("foo")
    digest = submissions.digest_of(bundle)
    for times in range(3):
        assert submissions.times_submitted(bundle) == times
        submissions.submit(digest, before=times)
    assert submissions.times_submitted(other) == 0


@pytest.mark.parametrize("before", [0, 1])
def test_submit__after_another_one_conflicts(before):
    bundle = new_bundle()
    digest = submissions.digest_of(bundle)
    for times in range(before + 1):
        submissions.submit(digest, before=times)
    with pytest.raises(ClaimConflict):
        submissions.submit(digest, before=before)
    assert submissions.times_submitted(bundle) == before + 1


def test_submit__that_is_rolled_back_is_none():
    bundle = new_bundle()
    with ends_with(ZeroDivisionError), transaction.atomic():
        submissions.submit(submissions.digest_of(bundle), before=0)
        raise ZeroDivisionError
    assert submissions.times_submitted(bundle) == 0


def test_submit__a_conflict_leaves_the_callers_transaction_usable():
    digest = submissions.digest_of(new_bundle())
    submissions.submit(digest, before=0)
    with transaction.atomic():
        with pytest.raises(ClaimConflict):
            submissions.submit(digest, before=0)
        assert SubmittedBundle.objects.get().times == 1


@pytest.mark.parametrize("before", [0, 1])
def test_submit__two_at_once(before):
    digest = submissions.digest_of(new_bundle())
    for times in range(before):
        submissions.submit(digest, before=times)

    def submit():
        try:
            with transaction.atomic():
                submissions.submit(digest, before=before)
        except (ClaimConflict, Busy) as error:
            return error.code
        finally:
            connections.close_all()
        return "won"

    answers = in_parallel(submit, submit)
    assert sorted(answers)[1] == "won"
    assert SubmittedBundle.objects.get().times == before + 1
