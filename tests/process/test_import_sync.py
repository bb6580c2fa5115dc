"""An import and the syncs that follow it, with real workers that are killed, against a fake WordPress and a fake PrestaShop; then a conflict decided as its page does."""

from __future__ import annotations

import time

from app import registry
from app.extensions import db
from app.services.content import conflicts, decisions
from tests.process.test_bulk import kill_workers
from tests.process.test_sync import finish, hurry, there  # noqa: F401  (a fixture)

ROWS = 260


def load(product, folder, there, title: str) -> str:  # noqa: F811
    path = folder / f"{title}.csv"
    path.write_text("reference,title,body,slug\n" + "".join(f"item-{n},{title} {n},<p>Text</p>,item-{n}\n" for n in range(ROWS)))
    with product.app.app_context():
        job = registry.find("ProcessCsvImport").with_options(tenant_id="acme", queue="default", backoff=(0,))
        uuid = job.dispatch(path=registry.UploadedFile(path), sync=[there.name])
        db.session.commit()
    return uuid


def test_an_import_is_followed_by_its_syncs_once_whatever_is_killed(product, there, tmp_path):  # noqa: F811
    product.monitor(), product.workers(2)
    uuid = load(product, tmp_path, there, "First")
    for pause in (0.3, 0.7, 1.1, 0.5):
        end = time.monotonic() + pause
        product.until(lambda end=end: hurry(product) or time.monotonic() > end, 10)
        kill_workers(product)
    finish(product, 180)
    assert product.all("SELECT id, total_jobs, failed_jobs FROM job_batches") == [(uuid, 2, 0)] and product.outcomes(uuid)[-1] == "completed"
    assert len(product.finals()) == 3 and set(product.finals().values()) == {1}
    seen = there.items()
    assert len(seen) == ROWS and {len(items) for items in seen.values()} == {1} and seen["item-7"][0][0] == "First 7"

    load(product, tmp_path, there, "First")  # the same file: nothing to do
    finish(product)
    assert product.one("SELECT COUNT(*) FROM job_batches") == 1
    there.edit("item-7", "Edited there")
    load(product, tmp_path, there, "Second")
    finish(product, 120)
    seen = {reference: items[0][0] for reference, items in there.items().items()}
    assert seen.pop("item-7") == "Edited there" and seen == {f"item-{n}": f"Second {n}" for n in range(ROWS) if n != 7}
    number, changed = product.all("SELECT id, changed_ms FROM sync_links WHERE state = 'conflict'")[0]
    with product.app.app_context():
        page = conflicts.link_page(number)
        (field,) = [field for field in page.fields if field.conflict]
        texts = ["".join(part.text for part in side) for side in (field.ours, field.theirs)]
        db.session.rollback()
        job = decisions.decide(number, "theirs", "ada", changed)
    assert (texts, field.base) == (["Second 7", "Edited there"], "First 7")
    finish(product)
    assert product.outcomes(job)[-1] == "completed" and product.one("SELECT title FROM contents WHERE reference = 'item-7'") == "Edited there"
    assert product.one("SELECT COUNT(*) FROM sync_links l JOIN contents c ON c.id = l.content_id WHERE l.state <> 'synced' OR l.content_ms <> c.updated_ms") == 0
