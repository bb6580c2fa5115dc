"""Rollups are counted with the histograms, by the monitor and no longer by each settle.

`rollup_reach` takes the place of `histogram_reach`. Outcomes past it stand in the rollups already (each settle counted
its own): they are taken out again, to be counted once by the monitor. Counts by the minute are made anew, as figures
now rely on them.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
ROWS = ("SELECT job_type, queue, tenant_id, status, processing_time, wait_ms, completed_at FROM job_metrics "
        "WHERE id > :over AND id <= :most AND completed_at > :since")


def upgrade():
    bind = op.get_bind()
    reach = int(bind.scalar(sa.text("SELECT value FROM meta WHERE key = 'histogram_reach'")) or 0)
    _change_hours(bind, reach, -1)
    bind.execute(sa.text("DELETE FROM job_minutes"))
    minutes, times = Counter(), Counter()
    since = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=26)
    for job_type, queue, tenant, status, run_ms, _wait, ended in _rows(bind, 0, reach, since):
        at = _ms(ended)
        key = at - at % MINUTE_MS, job_type, queue, tenant or "", status
        minutes[key] += 1
        times[key] += run_ms
    for (minute, job_type, queue, tenant, status), count in minutes.items():
        bind.execute(sa.text("INSERT INTO job_minutes (minute_ms, job_type, queue, tenant_id, status, count, time_ms) VALUES (:m, :t, :q, :w, :s, :n, :ms)"),
                     {"m": minute, "t": job_type, "q": queue, "w": tenant, "s": status, "n": count, "ms": times[minute, job_type, queue, tenant, status]})
    _rename(bind, "rollup_reach", reach)


def downgrade():
    bind = op.get_bind()
    reach = int(bind.scalar(sa.text("SELECT value FROM meta WHERE key = 'rollup_reach'")) or 0)
    _change_hours(bind, reach, 1)
    _rename(bind, "histogram_reach", reach)


def _rename(bind, key, reach):
    bind.execute(sa.text("DELETE FROM meta WHERE key IN ('histogram_reach', 'rollup_reach')"))
    bind.execute(sa.text("INSERT INTO meta (key, value, at_ms) VALUES (:key, :value, 0)"), {"key": key, "value": str(reach)})


def _rows(bind, over, most, since):
    shown = since.strftime("%Y-%m-%d %H:%M:%S.%f") if bind.dialect.name == "sqlite" else since
    return bind.execute(sa.text(ROWS), {"over": over, "most": most, "since": shown})


def _ms(ended):
    moment = datetime.fromisoformat(ended) if isinstance(ended, str) else ended
    return round(moment.replace(tzinfo=UTC).timestamp() * 1000)


def _change_hours(bind, reach, sign):
    """Add (sign 1) or take out (-1) the outcomes past `reach` in both rollups."""
    types, tenants = {}, {}
    for job_type, _queue, tenant, status, run_ms, wait_ms, ended in _rows(bind, reach, 2**62, datetime(1970, 1, 1)):
        hour = _ms(ended) - _ms(ended) % HOUR_MS
        for cells, key in ((types, (hour, job_type, status)), (tenants, (hour, job_type, status, tenant or ""))):
            cell = cells.setdefault(key, [0, 0, 0])
            for place, value in enumerate((1, run_ms, wait_ms or 0)):
                cell[place] += sign * value
    for table, cells, tenant in (("rollup_types", types, ""), ("rollup_tenants", tenants, " AND tenant_id = :w")):
        for key, (count, time_ms, wait_ms) in cells.items():
            values = dict(zip("htsw", key, strict=False)) | {"n": count, "ms": time_ms, "wait": wait_ms}
            done = bind.execute(sa.text(f"UPDATE {table} SET count = count + :n, time_ms = time_ms + :ms, wait_ms = wait_ms + :wait "
                                        f"WHERE hour = :h AND job_type = :t AND status = :s{tenant}"), values)
            if not done.rowcount and sign > 0:
                extra = ("", "") if not tenant else (", tenant_id", ", :w")
                bind.execute(sa.text(f"INSERT INTO {table} (hour, job_type, status, count, time_ms, wait_ms{extra[0]}) "
                                     f"VALUES (:h, :t, :s, :n, :ms, :wait{extra[1]})"), values)
