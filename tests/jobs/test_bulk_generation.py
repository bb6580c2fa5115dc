"""A bulk on each database: all of it or nothing, once; its budget as a whole; what a file may have in it."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Thread

import pytest

from app import registry
from app.execution.attempt import Attempt
from app.execution.outcomes import Outcome
from app.execution.runner import execute
from app.extensions import db
from app.ledger.dialect import Connection
from app.models import Content
from app.services.audit import ActionRefused
from app.services.content import bulk, costs, drafts, generation_pages, generations
from app.services.content.bulk_texts import Source
from app.services.jobs import actions
from app.support.clock import now_ms
from app.support.validation import ValidationError

TYPE = "ProcessBulkContentGeneration"


@pytest.fixture
def site(ledger):
    """The ledger, with three contents of acme and two templates."""
    now = now_ms()
    with ledger.app.app_context():
        for name, body in (("a", ""), ("b", " "), ("c", "Da tempo qui.")):
            db.session.add(Content(tenant_id="acme", reference=name, title=f"Titolo {name}", body=body, created_ms=now, updated_ms=now))
        db.session.commit()
        generation_pages.save_template("acme", "scheda", "Scrivi di {nome} ({Colore}): {title}. {body}", "ada")
        generation_pages.save_template("", "solo", "Scrivi: {prompt}", "ada")
    return ledger


def dispatch(site, tenant: str | None = "acme", **args) -> str:
    with site.app.app_context():
        uuid = registry.find(TYPE).with_options(tenant_id=tenant).dispatch(**args)
        db.session.commit()
    return uuid


def attempt(site) -> Outcome:
    """Claim the job that is ready and run it as a worker does, without its settle."""
    job = site.claim()
    found = Attempt(job)
    notes = Connection(site.app.extensions["settings"].database_url)
    execute(site.app, found, notes)
    notes.close()
    site.last = job
    return found.outcome


def run(site, **args) -> Outcome:
    dispatch(site, **args)
    outcome = attempt(site)
    site.settle(site.last, outcome.status, result=outcome.result, error=outcome.error, retry=outcome.retry)
    return outcome


def members(site, batch: str) -> list[dict]:
    rows = site.connection.fetch_all("SELECT payload, tenant_id, queue FROM jobs WHERE batch_id = :b ORDER BY id", b=batch)
    return [json.loads(payload)["args"] | {"tenant": tenant, "queue": queue} for payload, tenant, queue in rows]


def csv(tmp_path: Path, text: str) -> registry.UploadedFile:
    path = tmp_path / "testi.csv"
    path.write_text(text)
    return registry.UploadedFile(path)


def test_prompts_become_a_batch_with_the_jobs_own_uuid(site):
    outcome = run(site, prompts=["uno", "due"], model="gpt-4o-mini", template="solo")
    assert outcome.status == "completed", outcome.error
    result = json.loads(outcome.result)
    assert (result["batch"], result["texts"], result["rejected"]) == (site.last.uuid, 2, 0)
    assert [m["prompt"] for m in members(site, result["batch"])] == ["uno", "due"]
    assert {(m["tenant"], m["template"], m["queue"]) for m in members(site, result["batch"])} == {("acme", "solo", "default")}
    assert site.one("SELECT sealed_ms IS NOT NULL FROM job_batches") and site.one("SELECT total_jobs FROM job_batches") == 2
    assert site.one("SELECT COUNT(*) FROM generations WHERE status = 'new' AND batch_id = :b", b=result["batch"]) == 2


def test_a_second_attempt_dispatches_nothing(site):
    uuid = dispatch(site, prompts=["uno", "due"])
    assert attempt(site).status == "completed"
    site.change("UPDATE jobs SET state = 'pending', worker_id = NULL WHERE uuid = :u", u=uuid)
    site.change("UPDATE jobs SET state = 'held' WHERE uuid <> :u", u=uuid)
    again = attempt(site)
    assert json.loads(again.result)["texts"] == 2 and len(members(site, uuid)) == 2
    assert site.one("SELECT COUNT(*) FROM job_batches") == 1


@pytest.mark.parametrize("place", ["dispatch_many", "generations.plan", "batches.Batch.seal"])
def test_killed_in_the_middle_nothing_is_there(site, monkeypatch, place):
    def killed(*_, **__):
        raise KeyboardInterrupt

    uuid = dispatch(site, prompts=["uno"] * 50)
    with monkeypatch.context() as patch:
        patch.setattr(f"app.services.content.bulk.{place}", killed)
        with pytest.raises(KeyboardInterrupt):
            attempt(site)
    assert not members(site, uuid) and site.one("SELECT COUNT(*) FROM generations") == 0 == site.one("SELECT COUNT(*) FROM job_batches")
    site.change("UPDATE jobs SET state = 'pending', worker_id = NULL")
    assert attempt(site).status == "completed" and len(members(site, uuid)) == 50


def test_columns_fill_the_template_and_bad_rows_are_reported(site, tmp_path):
    file = csv(tmp_path, "Nome;colore;reference\nPompa;rosso;a\nPompa;blu;a\nTubo;;c\nX;y;zz\nX;y;\nZ\n")
    outcome = run(site, path=file, template="scheda")
    assert outcome.status == "completed", outcome.error
    result = json.loads(outcome.result)
    assert (result["texts"], result["rejected"]) == (2, 4)
    found = members(site, result["batch"])
    assert [(m["reference"], m["variables"]) for m in found] == [("a", {"nome": "Pompa", "colore": "rosso"}), ("c", {"nome": "Tubo", "colore": ""})]
    with site.connection.transaction() as tx:
        filled = [generations.fill(tx, "acme", "scheda", m["prompt"], m["reference"], m["variables"]) for m in found]
    assert filled == ["Scrivi di Pompa (rosso): Titolo a. ", "Scrivi di Tubo (): Titolo c. Da tempo qui."]
    rows = site.connection.fetch_all("SELECT line, reason FROM import_rejects WHERE uuid = :u ORDER BY line", u=result["batch"])
    assert [r[0] for r in rows] == [3, 5, 6, 7]
    assert rows[0][1] == "The content 'a' stands already in line 2." and rows[1][1] == "The tenant has no content 'zz': import it first."
    sent = sum(map(len, filled))
    assert site.one("SELECT options FROM job_batches") and json.loads(outcome.result)["estimate_nano"] == round((-(-sent // 4) * 0.15 + 1600 * 0.6) * 1000)


@pytest.mark.parametrize("args, words", [
    ({"prompts": ["x"], "template": "none"}, "no prompt template 'none'"),
    ({"prompts": ["x"], "template": "scheda"}, "{nome}, {colore}, {title}, {body}, which only a CSV"),
    ({"csv": "titolo\nx\n"}, "no column prompt"), ({"csv": ""}, "is empty"),
    ({"csv": "prompt\nx\n", "approve": True}, "needs a column reference"), ({"csv": "nome;reference\nx;a\n", "template": "scheda"}, "no column colore"),
    ({"csv": "prompt\n" + "x\n" * 10_001}, "at most 10000 texts"), ({"csv": "reference;prompt\nzz;x\n"}, "no row can be used"),
])
def test_what_cannot_be_used_fails_at_once_with_a_sentence(site, tmp_path, args, words):
    text = args.pop("csv", None) if (args := dict(args)) else None
    outcome = run(site, **args, **({"path": csv(tmp_path, text)} if text is not None else {}))
    assert outcome.status == "failed" and not outcome.retry and words in outcome.error, outcome.error
    assert site.one("SELECT COUNT(*) FROM job_batches") == 0


NEVER = [
    ({}, "Give one of three"), ({"prompts": ["x"], "missing": True}, "Give one of three"), ({"prompts": []}, "no text to write"),
    ({"prompts": ["x", " "]}, "Prompt 2 is empty"), ({"prompts": ["x"], "approve": True}, "wait for approval"),
    ({"prompts": ["x"], "model": " "}, "Name a model"), ({"prompts": ["x"] * 10_001}, "at most 10000 texts"),
    ({"missing": True, "tenant": None}, "Name the tenant"),
]


@pytest.mark.parametrize("args, words", NEVER)
def test_what_can_never_work_is_refused_before_it_is_written(site, args, words):
    with pytest.raises(ValidationError, match=words):
        dispatch(site, **args)
    uuid = dispatch(site, prompts=["x"], tenant=args.get("tenant", "acme"))
    with site.app.app_context(), pytest.raises(ValidationError, match=words):
        db.session.execute(db.text("UPDATE jobs SET state = 'held'"))
        actions.retry_edited(uuid, {name: value for name, value in args.items() if name != "tenant"}, "ada")
    runner = site.app.test_cli_runner()
    tenant = ["--tenant", "acme"] if args.get("tenant", "acme") else []
    told = runner.invoke(args=["jobs", "dispatch", TYPE, *tenant, "--args", json.dumps({n: v for n, v in args.items() if n != "tenant"})])
    assert told.exit_code == 2 and words in told.stderr and not told.stdout
    assert site.one("SELECT COUNT(*) FROM jobs") == 1


def test_contents_of_nobody_need_no_tenant(site):
    site.change("UPDATE contents SET tenant_id = '' WHERE reference = 'a'")
    assert json.loads(run(site, missing=True, tenant=None).result)["texts"] == 1


def test_two_bulks_for_the_contents_without_a_body_take_each_once(site, monkeypatch):
    """The second one reads its texts while the first has not written its own."""
    dispatch(site, missing=True)
    dispatch(site, missing=True)
    second, first = site.claim("w1"), site.claim("w2")

    def do(job) -> Outcome:
        found, notes = Attempt(job), Connection(site.app.extensions["settings"].database_url)
        execute(site.app, found, notes)
        notes.close()
        return found.outcome

    plan, others = bulk.plan, []

    def slow(wish):
        found = plan(wish)
        if not others:
            others.append(None)
            thread = Thread(target=lambda: others.append(do(first)))
            thread.start()
            thread.join()
        return found

    monkeypatch.setattr(bulk, "plan", slow)
    late = do(second)
    assert json.loads(others[1].result)["texts"] == 2
    assert late.status == "failed" and "under way" in late.error
    assert site.one("SELECT COUNT(*) FROM jobs WHERE job_type = 'ProcessContentGeneration'") == 2


def test_a_text_that_was_dispatched_alone_is_under_way_too(site):
    with site.app.app_context():
        alone = registry.find("ProcessContentGeneration").with_options(tenant_id="acme")
        alone.dispatch(prompt="x", reference="a")
        alone.with_options(tenant_id="other").dispatch(prompt="x", reference="b")
        db.session.commit()
    site.change("UPDATE jobs SET state = 'held'")
    assert [m["reference"] for m in members(site, json.loads(run(site, missing=True).result)["batch"])] == ["b"]


def test_contents_without_a_body_once(site):
    outcome = run(site, missing=True)
    assert [(m["reference"], m["prompt"]) for m in members(site, json.loads(outcome.result)["batch"])] == [("a", "Titolo a"), ("b", "Titolo b")]
    assert "without a body" in run(site, missing=True).error, "their texts are under way"
    site.change("DELETE FROM jobs")
    site.change("UPDATE generations SET draft = 'waiting' WHERE reference = 'a'")
    assert [m["reference"] for m in members(site, json.loads(run(site, missing=True).result)["batch"])] == ["b"]
    assert run(site, missing=True, tenant="other").status == "failed"


def budget(site, amount: str, currency: str = "USD", hold: bool = False) -> None:
    with site.app.app_context():
        costs.save_budget("acme", amount, currency, hold, "ada")


def test_the_budget_is_checked_as_a_whole_also_beside_another_bulk(site):
    each = 800 * 600 + 150  # of 4 characters, when nothing is known
    budget(site, "0.01")
    assert run(site, prompts=["nove"] * 20).status == "completed" and 20 * each < 10_000_000
    refused = run(site, prompts=["nove"])
    assert refused.status == "failed" and "above what the monthly budget of acme has left: 0.0004 USD of 0.01 USD (0.00 USD are spent, 0.0096 USD" in refused.error
    assert run(site, prompts=["nove"], over_budget=True).status == "completed"
    budget(site, "0.01", hold=True)
    assert run(site, prompts=["nove"], over_budget=True).status == "failed", "a budget that holds is not overruled"
    budget(site, "0.01", "EUR")
    assert "cannot be checked" in run(site, prompts=["nove"]).error
    assert "has no price" in run(site, prompts=["nove"], model="unheard-of").error
    assert run(site, prompts=["nove"], model="unheard-of", tenant="other").status == "completed"
    site.change("DELETE FROM jobs WHERE batch_id IS NOT NULL")
    budget(site, "0.01", hold=True)
    assert run(site, prompts=["nove"]).status == "completed", "what has ended is not reserved"


def test_the_estimate_rests_on_answers_of_the_same_model_and_template(site):
    assert site.one("SELECT COUNT(*) FROM generations") == 0
    for n in range(6):
        site.change("INSERT INTO generations (uuid, prompt, template, model, status, tokens_in, tokens_out, created_ms) "
                    "VALUES (:u, :p, :t, 'gpt-4o-mini', 'answered', 50, 100, 0)", u=f"g{n}", p="x" * 100, t=None if n else "solo")
    with site.app.app_context():
        found = bulk.plan(bulk.Wish(Source(["y" * 200]), "acme", "gpt-4o-mini")).estimate
        assert (found.tokens_in, found.tokens_out) == (75, 100), "half of the 50 tokens do not depend on the length"
        assert "last 5 answers" in found.basis
        assert "too few" in bulk.plan(bulk.Wish(Source(["y" * 200]), "acme", "gpt-4o-mini", "solo")).estimate.basis


def answered(site, approve: bool, text: str = "Un testo nuovo.") -> str:
    """A bulk for the content c, whose job has its answer already: as after a kill between answer and end."""
    batch = json.loads(run(site, path=registry.UploadedFile(site.file), approve=approve).result)["batch"]
    uuid = site.one("SELECT uuid FROM generations WHERE batch_id = :b", b=batch)
    site.change("UPDATE generations SET status = 'answered', text = :t, raw = '{}' WHERE uuid = :u", t=text, u=uuid)
    outcome = attempt(site)
    site.settle(site.last, outcome.status, result=outcome.result)
    assert outcome.status == "completed" and site.last.uuid == uuid, outcome.error
    return uuid


@pytest.fixture
def of_c(site, tmp_path):
    site.file = tmp_path / "c.csv"
    site.file.write_text("reference,prompt\nc,Scrivi\n")
    return site


def body(site) -> str:
    return site.one("SELECT body FROM contents WHERE reference = 'c'")


def test_a_draft_becomes_the_body_only_when_accepted_and_once(of_c):
    direct = answered(of_c, False, "Diretto.")
    assert body(of_c) == "Diretto." and of_c.one("SELECT draft FROM generations WHERE uuid = :u", u=direct) is None
    one, two = answered(of_c, True, "Primo."), answered(of_c, True, "Secondo.")
    assert body(of_c) == "Diretto."
    with of_c.app.app_context():
        number = drafts.content_of(one)
        page = drafts.content_page(number)
        assert (page.waiting, [d.uuid for d in page.drafts], page.versions[0].body) == (2, [two, one], "Da tempo qui.")
        drafts.decide(one, "accept", "ada")
        for again in ("accept", "refuse"):
            with pytest.raises(ActionRefused, match="decided on already"):
                drafts.decide(one, again, "ada")
        drafts.decide(two, "refuse", "ada")
        with pytest.raises(ActionRefused, match="no such draft"):
            drafts.decide(direct, "accept", "ada")
    assert body(of_c) == "Primo." and of_c.one("SELECT COUNT(*) FROM content_versions") == 2
    assert of_c.connection.fetch_all("SELECT action, subject FROM audit WHERE action LIKE '%draft' ORDER BY id") == [("accept draft", one), ("refuse draft", two)]
    with of_c.connection.transaction() as tx:
        assert generations.keep_draft(tx, one, "acme", "c")
    assert of_c.one("SELECT draft FROM generations WHERE uuid = :u", u=one) == "accepted", "a second run of the job changes no decision"


def test_all_drafts_of_a_batch(of_c):
    uuid = answered(of_c, True)
    batch = of_c.one("SELECT batch_id FROM generations WHERE uuid = :u", u=uuid)
    for n in range(450):
        of_c.change("INSERT INTO generations (uuid, prompt, reference, tenant_id, model, status, draft, text, batch_id, created_ms) VALUES "
                    "(:u, 'p', :r, 'acme', 'm', 'answered', 'waiting', :t, :b, 0)", u=f"d{n}", r="c" if n % 50 else "gone", t=f"t{n}", b=batch)
    with of_c.app.app_context():
        assert drafts.decide_all(batch, "accept", "ada") == (442, 451)
        assert drafts.decide_all(batch, "refuse", "ada") == (9, 9)
    assert body(of_c) == "t449" and of_c.one("SELECT result FROM audit WHERE action = 'accept draft'") == "442 of 451"


def test_differences_are_told_by_words_and_not_for_ever():
    before, after, compared = drafts.differences("Da tempo qui.", "Da poco qui.")
    assert compared and [(p.text, p.changed) for p in before] == [("Da ", False), ("tempo", True), (" qui.", False)]
    assert "".join(p.text for p in after) == "Da poco qui."
    assert not drafts.differences("x" * 10**6, "y")[2] and not drafts.differences("a " * 7000, "y")[2]
    assert drafts.differences("", "")[:2] == ((), ())


def test_results_have_every_text_in_the_order_of_the_prompts(of_c):
    uuid = answered(of_c, True, "=cmd")
    batch = of_c.one("SELECT batch_id FROM generations WHERE uuid = :u", u=uuid)
    for n in range(1200):
        of_c.change("INSERT INTO generations (uuid, prompt, model, status, batch_id, cost_nano, currency, error, created_ms) VALUES "
                    "(:u, :p, 'm', 'failed', :b, 1500, 'USD', 'Rotto.', 0)", u=f"d{n}", p=f"n{n}", b=batch)
    with of_c.app.app_context():
        rows = json.loads("".join(bulk.as_json(db.engine, batch)))
        lines = "".join(bulk.as_csv(db.engine, batch)).splitlines()
        view = bulk.view(batch)
        assert json.loads("".join(bulk.as_json(db.engine, "none"))) == {"batch": "none", "texts": []}
    assert rows["batch"] == batch and [r["prompt"] for r in rows["texts"]] == ["Scrivi", *(f"n{n}" for n in range(1200))]
    assert rows["texts"][0] | {"status": "completed", "draft": "waiting", "error": None} == rows["texts"][0]
    assert lines[0].endswith("reference;prompt;status;text;tokens_in;tokens_out;cost;currency;error;draft;uuid")
    assert lines[1].startswith("c;Scrivi;completed;'=cmd;;;;;;waiting;") and lines[2] == ";n0;failed;;;;0,000001500;USD;Rotto.;;d0"
    assert (view.texts, view.states, view.drafts, view.nano) == (1201, {"answered": 1, "failed": 1200}, 1, 1200 * 1500)


def test_of_two_attempts_at_once_the_second_finds_the_batch_of_the_first(site, monkeypatch):
    begin = bulk.begin

    def after_another(uuid, *rest):
        with site.app.app_context():
            begin(uuid, *rest)
        begin(uuid, *rest)

    uuid = dispatch(site, prompts=["uno", "due"])
    monkeypatch.setattr(bulk, "begin", after_another)
    outcome = attempt(site)
    assert outcome.status == "completed" and json.loads(outcome.result)["texts"] == 2, outcome.error
    assert len(members(site, uuid)) == 2 == site.one("SELECT COUNT(*) FROM generations")


def test_a_refused_bulk_that_is_retried_after_the_budget_was_raised_starts(site):
    budget(site, "0", hold=True)
    refused = run(site, prompts=["uno"])
    assert refused.status == "failed"
    budget(site, "5", hold=True)
    with site.app.app_context():
        actions.retry(site.last.uuid, "ada")
    assert attempt(site).status == "completed" and len(members(site, site.last.uuid)) == 1


def test_an_empty_reference_is_a_text_without_a_content(site, tmp_path):
    outcome = run(site, path=csv(tmp_path, 'prompt;reference\n"a""b";\nx;c\ny; \n;a\nz;zz\n;\n'))
    found = members(site, json.loads(outcome.result)["batch"])
    assert [(m["prompt"], m["reference"]) for m in found] == [('a"b', None), ("x", "c"), ("y", None)]
    rows = site.connection.fetch_all("SELECT line, reason FROM import_rejects ORDER BY line")
    assert [tuple(row) for row in rows][:2] == [(5, "Empty cell in a required column: prompt."), (6, "The tenant has no content 'zz': import it first.")]


@pytest.mark.parametrize("args", [{"approve": True}, {"template": "titolo"}, {"template": "codice"}])
def test_a_text_that_needs_its_content_needs_the_reference(site, tmp_path, args):
    with site.app.app_context():
        generation_pages.save_template("acme", "titolo", "{title}: {prompt}", "ada")
        generation_pages.save_template("acme", "codice", "{reference}: {prompt}", "ada")
    outcome = run(site, path=csv(tmp_path, "prompt;reference\nx;c\ny;\n"), **args)
    assert (json.loads(outcome.result)["texts"], json.loads(outcome.result)["rejected"]) == (1, 1)
    assert site.one("SELECT reason FROM import_rejects") == "Empty cell in a required column: reference."


@pytest.mark.parametrize("text, words", [
    ("", "The file is empty. Its first line must name the column prompt."), ("titolo\nx\n", "The file has no column prompt, which its first line must name; it has: titolo."),
])
def test_one_column_is_a_column(site, tmp_path, text, words):
    assert run(site, path=csv(tmp_path, text)).error.startswith(words)
