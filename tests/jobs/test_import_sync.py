"""Imports of products, and the syncs that an import dispatches: once, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app import create_app
from app.config import load_settings
from app.extensions import db
from app.jobs import csv_import
from app.services.content import sync_start
from tests.backends import postgres_url  # noqa: F401  (a fixture)
from tests.jobs.importing import Imports, whole
from tests.syncing import connect

ROOT = Path(__file__).resolve().parents[2]
HEAD = "reference,title,body\n"


@pytest.fixture
def shop(imports):
    """Imports of a tenant that is connected to both services."""
    with imports.site.app_context():
        connect()
        db.session.commit()
    return imports


def run(imports, content: str, **args) -> dict:
    imports.dispatch(content, **args)
    return whole(imports.attempt())


# Products

PRODUCTS = "reference,name,description,price,quantity\np1,Sedia,Di legno,12.50,3\np2,Tavolo,,99,0\np3,,x,1,1\n"


def test_a_file_of_products_needs_no_body_and_its_name_is_the_title(imports):
    result = run(imports, PRODUCTS, kind="products")
    assert (result["inserted"], result["rejected"]) == (2, 1) and "sync" not in result
    assert imports.contents() == [("p1", "Sedia", ""), ("p2", "Tavolo", "")]
    assert json.loads(imports.contents("attributes")[0][0]) == {"description": "Di legno", "price": "12.50", "quantity": "3"}
    assert imports.rejects() == [(4, "Empty cell in a required column: title.")]
    imports.dispatch(PRODUCTS)
    assert "has no columns title and body" in imports.attempt().error


def test_a_file_without_bodies_leaves_the_bodies_as_they_are(imports):
    run(imports, HEAD + "p1,Sedia,Testo\n")
    assert run(imports, "reference,title\np1,Sedia\n", kind="products")["unchanged"] == 1
    assert run(imports, "reference,title,price\np1,Sedia,5\n", kind="products")["updated"] == 1
    assert imports.contents() == [("p1", "Sedia", "Testo")]
    assert run(imports, "reference,title,body,price\np1,Sedia,,5\n", kind="products")["updated"] == 1
    assert imports.contents() == [("p1", "Sedia", "")], "an empty cell of a column that is there counts"


def test_columns_of_products_can_be_mapped_and_a_title_comes_before_a_name(imports):
    run(imports, "sku;nome;testo;name\np1;Sedia;Di legno;chair\n", kind="products", columns={"sku": "reference", "nome": "title", "testo": "body"})
    assert imports.contents("reference, title, body, attributes") == [("p1", "Sedia", "Di legno", '{"name": "chair"}')]
    run(imports, "sku;nome\np2;Tavolo\n", kind="products", columns={"sku": "reference", "nome": "name"})
    assert imports.contents()[-1] == ("p2", "Tavolo", "")
    imports.dispatch("reference;price\np3;1\n", kind="products")
    assert "has no column title" in imports.attempt().error


# The syncs

def dispatched(imports) -> list[tuple]:
    """Type, references, state and batch of the jobs after the import."""
    rows = imports.sql("SELECT job_type, payload, state, batch_id, tenant_id FROM jobs WHERE job_type LIKE '%Sync' ORDER BY id")
    assert {row[4] for row in rows} <= {"acme"}
    return [(name, json.loads(payload)["args"]["references"], state, batch) for name, payload, state, batch, _tenant in rows]


def test_the_syncs_of_an_import_are_a_batch_that_waits_for_it(shop):
    uuid = shop.dispatch(HEAD + "".join(f"r{n},T,b\n" for n in range(201)) + "bad,,b\nr7,New,b\n", sync=["wordpress", "prestashop"])
    result = whole(shop.attempt())
    assert result["sync"] == {"batch": uuid, "jobs": 4, "syncs": 402}
    found = dispatched(shop)
    assert [(name, len(references), state) for name, references, state, _b in found] == [
        ("ProcessWordPressSync", 200, "waiting"), ("ProcessWordPressSync", 1, "waiting"), ("ProcessPrestaShopSync", 200, "waiting"), ("ProcessPrestaShopSync", 1, "waiting")]
    assert sorted(found[0][1] + found[1][1]) == sorted(f"r{n}" for n in range(201)) and {batch for *_, batch in found} == {uuid}
    assert shop.sql("SELECT name, total_jobs, sealed_ms IS NOT NULL, tenant_id FROM job_batches") == [("Sync after import of file-1.csv", 4, 1, "acme")]
    assert len(shop.sql("SELECT 1 FROM job_edges WHERE parent_uuid = ?", uuid)) == 4


def synced(imports, *references: str, service: str = "wordpress") -> None:
    for reference in references:
        imports.sql(f"INSERT INTO sync_links (content_id, tenant_id, reference, service, state, uuid, content_ms, changed_ms) SELECT id, tenant_id, reference, '{service}', 'synced', 'u', updated_ms, 1 "
                    "FROM contents WHERE reference = ?", reference)


def test_only_what_the_service_does_not_have_as_it_is_here_is_synced(shop):
    run(shop, HEAD + "a,A,b\nb,B,b\nc,C,b\nother,O,b\n")
    synced(shop, "a", "b")
    shop.sql("UPDATE sync_links SET content_ms = content_ms - 1 WHERE reference = 'b'")
    synced(shop, "a", service="prestashop")
    result = run(shop, HEAD + "a,A,b\nb,B,b\nc,C,b\n", sync=["wordpress"])
    assert result["unchanged"] == 3 and dispatched(shop)[0][1] == ["b", "c"], "changed since, and never synced"


def test_marks_of_direction_in_the_name_of_a_file_hinder_nothing(shop, tmp_path):
    path = tmp_path / "pro\u202edotti\u200e.csv"
    path.write_text(HEAD + "a,A,b\n")
    shop.dispatch(path, sync=["wordpress"])
    assert shop.sql("SELECT filename FROM uploads") == [("prodotti.csv",)]
    shop.sql("UPDATE uploads SET filename = ?", path.name)  # as an older version has stored it
    assert whole(shop.attempt())["sync"]["jobs"] == 1
    assert shop.sql("SELECT name FROM job_batches") == [("Sync after import of prodotti.csv",)]


def test_nothing_is_dispatched_when_nothing_changed_and_it_is_said(shop):
    run(shop, HEAD + "a,A,b\n")
    synced(shop, "a")
    uuid = shop.dispatch(HEAD + "a,A,b\n", sync=["wordpress"])
    assert whole(shop.attempt())["sync"] is None and dispatched(shop) == [] and shop.sql("SELECT * FROM job_batches") == []
    assert any("Nothing to sync" in message for message, in shop.sql("SELECT message FROM job_logs WHERE uuid = ?", uuid))


def test_without_a_connection_no_row_is_imported(imports):
    imports.dispatch(HEAD + "a,A,b\n", sync=["wordpress"])
    assert imports.attempt().error == "acme has no connection to WordPress. Add one first." and imports.contents() == []
    imports.dispatch(HEAD + "a,A,b\n", tenant=None, sync=["wordpress"])
    assert "without a tenant" in imports.attempt().error


def test_an_attempt_after_a_kill_dispatches_nothing_again(shop):
    uuid = shop.dispatch(HEAD + "a,A,b\n", sync=["wordpress"])
    first = whole(shop.attempt())
    for by_hand in (False, True):
        shop.again(uuid, by_hand)
        assert whole(shop.attempt())["sync"] == first["sync"] and len(dispatched(shop)) == 1


def test_a_connection_removed_meanwhile_fails_with_its_sentence(shop, monkeypatch):
    shop.dispatch(HEAD + "a,A,b\n", sync=["wordpress"])
    saved = csv_import.save

    def removed(*args):
        shop.sql("DELETE FROM connections")
        return saved(*args)
    monkeypatch.setattr(csv_import, "save", removed)
    outcome = shop.attempt()
    assert outcome.error == "acme has no connection to WordPress. Add one first."
    assert len(shop.contents()) == 1 and dispatched(shop) == []


@pytest.mark.parametrize("where", ["begin", "dispatch_many", "seal"])
def test_a_failure_while_it_dispatches_leaves_nothing_and_the_next_attempt_does_it(shop, monkeypatch, where):
    uuid = shop.dispatch(HEAD + "a,A,b\n", sync=["wordpress", "prestashop"])
    place = {"begin": sync_start.batches, "dispatch_many": sync_start, "seal": sync_start.batches.Batch}[where]
    with monkeypatch.context() as patch:
        def broken(*args, **options):
            raise RuntimeError("killed here")
        patch.setattr(place, where, broken)
        assert shop.attempt().status == "failed"
    assert dispatched(shop) == [] and shop.sql("SELECT * FROM job_batches") == [] and len(shop.contents()) == 1
    shop.again(uuid)
    assert whole(shop.attempt())["sync"]["syncs"] == 2 and len(dispatched(shop)) == 2


def test_of_two_attempts_at_once_one_dispatches(shop, monkeypatch):
    """The second looks before the first has committed, and comes too late."""
    uuid = shop.dispatch(HEAD + "a,A,b\n", sync=["wordpress"])
    made, asked = sync_start.made, []

    def blind(key):
        asked.append(key)
        return None if len(asked) == 3 else made(key)
    monkeypatch.setattr(sync_start, "made", blind)
    first = whole(shop.attempt())
    shop.again(uuid)
    assert whole(shop.attempt())["sync"] == first["sync"] and len(dispatched(shop)) == 1 and len(asked) == 5


def test_a_stop_while_it_looks_dispatches_nothing(shop, monkeypatch):
    shop.dispatch(HEAD + "a,A,b\n", sync=["wordpress"])
    monkeypatch.setattr(csv_import, "save", lambda chunk, source, last, done, ctx: (setattr(ctx, "_cancelled", True), done)[1])
    outcome = shop.attempt()
    assert outcome.status == "cancelled" and "nothing of it is synced" in outcome.error and dispatched(shop) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from app import create_app
from app.config import load_settings
from app.services.content import sync_start
from tests.jobs.importing import Imports
folder, when = Path(sys.argv[1]), sys.argv[2]
site = create_app(load_settings({"DATA_DIR": str(folder / "data")}))
kept = sync_start.batches.Batch.seal
def seal(batch):
    kept(batch)
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
sync_start.batches.Batch.seal = seal
made = sync_start.made
def after(uuid):
    found = made(uuid)
    if found and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return found
sync_start.made = after
Imports(site, folder).attempt()
"""


@pytest.mark.parametrize(("when", "jobs"), [("before", 0), ("after", 2)])
def test_a_killed_worker_has_dispatched_all_or_nothing(shop, tmp_path, when, jobs):
    uuid = shop.dispatch(HEAD + "a,A,b\n", sync=["wordpress", "prestashop"])
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), when], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert killed.returncode == -signal.SIGKILL and len(dispatched(shop)) == jobs
    shop.again(uuid)
    assert whole(shop.attempt())["sync"] == {"batch": uuid, "jobs": 2, "syncs": 2} and len(dispatched(shop)) == 2


def test_on_postgresql_too(tmp_path, postgres_url):  # noqa: F811
    site = create_app(load_settings({"DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": postgres_url}))
    with site.app_context():
        db.drop_all()
        db.create_all()
        connect()
        db.session.commit()
    imports = Imports(site, tmp_path)
    uuid = imports.dispatch(HEAD + "a,A,b\nb,B,b\n", sync=["wordpress"])
    try:
        first = whole(imports.attempt())
        with site.app_context():
            db.session.execute(db.text("UPDATE jobs SET state = 'pending' WHERE uuid = :u"), {"u": uuid})
            db.session.commit()
        assert first["sync"] == whole(imports.attempt())["sync"] == {"batch": uuid, "jobs": 1, "syncs": 2}
        with site.app_context():
            assert db.session.execute(db.text("SELECT state FROM jobs WHERE job_type LIKE '%Sync'")).all() == [("waiting",)]
    finally:
        imports.claims.close()
        imports.notes.close()
        with site.app_context():
            db.session.remove()
            db.drop_all()
            db.engine.dispose()
