"""What a person reads: their own notices only, without secrets, with numbers in their language."""

from __future__ import annotations

from flask_babel import force_locale

from app.services.notices import feed
from tests.services.notices.test_telling import People, ended, people  # noqa: F401  (people is a fixture)

SECRET = "token=sk-proj-1234567890abcdefghijklmnop"


def latest(people: People, user: int) -> list[str]:  # noqa: F811
    with people.ledger.app.app_context(), force_locale("en"):
        return [one.title for one in feed.latest(user, True)]


def test_the_list_of_the_account_page_is_ones_own(people, ledger):  # noqa: F811
    ada, bob = people.add(), people.add()
    uuid = ended(ledger)
    people.follow(ada, uuid)
    people.tell()
    assert latest(people, ada) == [f"Job completed: Test Noop {uuid[:8]}"] and latest(people, bob) == []


def test_a_mail_about_a_failure_has_no_secret(people, ledger):  # noqa: F811
    uuid = ledger.dispatch("TestNoop", tries=1)
    people.follow(people.add(language="en"), uuid, via="mail")
    ledger.settle(ledger.claim(), "failed", error="x", retry=False)
    for table in ("job_history", "failed_jobs"):  # by another program: ours writes none
        ledger.change(f"UPDATE {table} SET error = :e, error_json = NULL", e=f"refused with {SECRET}")
    assert people.tell() == 1
    body, facts = ledger.connection.fetch_all("SELECT body, facts FROM mails")[0]
    assert "refused with" in facts and "sk-proj" not in body + facts


def test_the_time_of_a_job_that_failed_is_told_too(people, ledger):  # noqa: F811
    ada = people.add()
    uuid = ledger.dispatch("TestNoop", tries=1)
    people.follow(ada, uuid)
    ledger.settle(ledger.claim(), "failed", error="zanzibar", retry=False)
    ledger.change("UPDATE job_metrics SET processing_time = 6500")
    people.tell()
    assert [people.told(ada, language=one)[0][1] for one in ("en", "it")] == ["It ran for 6.5 s. zanzibar", "È durato 6,5 s. zanzibar"]


def test_a_batch_that_another_program_has_ended_is_told(people, ledger):  # noqa: F811
    ada = people.add()
    ledger.change("INSERT INTO job_batches (id, name, total_jobs, pending_jobs, failed_jobs, created_at) VALUES ('bbbb', 'n', 2, 2, 0, 1)")
    people.put(ada, "bbbb", kind="batch")
    assert people.tell() == 0
    ledger.change("UPDATE job_batches SET finished_at = 2")
    assert people.tell() == 1 and len(people.told(ada)) == 1


def test_a_notice_leads_to_no_other_site(people, ledger):  # noqa: F811
    ada = people.add()
    people.follow(ada, ended(ledger))
    people.tell()
    ledger.change("UPDATE notices SET link = 'https://elsewhere.example/admin/jobs/'")
    assert people.told(ada) == [] and latest(people, ada) == []
