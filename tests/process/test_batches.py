"""What follows a batch runs once, though both monitors are killed while they close batches."""

from __future__ import annotations

import signal

import pytest

from app import registry
from app.extensions import db
from app.jobs import batch
from tests.process.product import Product


@pytest.mark.timeout(180)
def test_what_follows_runs_once_though_two_monitors_are_killed_again_and_again(data_dir):
    product = Product(data_dir)
    try:
        with product.app.app_context():
            for n in range(150):
                with batch(f"number {n}", then=registry.find("TestFollow")) as made:
                    registry.find("TestNoop").with_options(batch=made).dispatch_many([{}, {}])
            db.session.commit()
        product.workers(1)
        product.until(lambda: not product.one("SELECT COUNT(*) FROM jobs WHERE job_type = 'TestNoop'"), 60, "the members ended")
        closed = "SELECT COUNT(*) FROM job_batches WHERE closed_ms IS NOT NULL"
        for _ in range(4):
            before, monitors = product.one(closed), [product.monitor(), product.monitor()]
            product.until(lambda before=before: product.one(closed) > before or before == 150, 60, "one more batch closed")
            for monitor in monitors:
                monitor.send_signal(signal.SIGKILL)
                monitor.wait()
        assert product.one(closed) > 0
        product.monitor()
        product.until(lambda: product.one(closed) == 150, 60, "all batches closed")
        product.ended()
    finally:
        product.stop()
    follows = product.all("SELECT uuid, json_extract(payload, '$.args.batch_id'), status FROM job_history WHERE job_type = 'TestFollow'")
    assert len(follows) == len({b for _uuid, b, _status in follows}) == 150 and {status for *_, status in follows} == {"completed"}
    assert dict(product.all("SELECT id, then_uuid FROM job_batches")) == {b: uuid for uuid, b, _status in follows}
    assert product.all("SELECT DISTINCT total_jobs, pending_jobs, failed_jobs, failed_job_ids FROM job_batches") == [(2, 0, 0, "[]")]
