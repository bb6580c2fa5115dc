"""The columns that the ledger writes into its tables, and the one builder of their INSERTs."""

from __future__ import annotations

import re
from collections.abc import Iterable

METRIC = (
    "uuid round claim_no job_type tenant_id queue worker status processing_time wait_ms memory_used attempts "
    "error_message error_json metadata started_at completed_at created_at code_version traceback").split()
# The version of the code that the worker ran: `revision.code`, or only the code's when the revision is unknown.
VERSION = ("(SELECT CASE WHEN w.revision IS NULL THEN w.code_version ELSE w.revision || '.' || w.code_version END "
           "FROM worker_heartbeats w WHERE w.worker_id = :code_version)")
HISTORY = (
    "uuid job_type tenant_id queue status payload result error error_json traceback attempts tries claim_no round "
    "created_by created_ms finished_ms batch_id").split()
FAILED = (
    "uuid connection queue payload exception failed_at job_type tenant_id status error error_json claim_no round tries "
    "backoff timeout durable created_ms created_by batch_id limit_key").split()
# of a new row, and what a row that comes back from failed_jobs has besides
NEW_JOB = (
    "uuid queue payload attempts available_at created_at state job_type tenant_id tries backoff timeout durable "
    "created_ms available_ms retry_until_ms created_by batch_id limit_key").split()
OF_A_ROUND = "claim_no round failures crashes".split()


_PLAIN = re.compile(r"[0-9A-Za-z_-]{1,36}")


def among(keys: Iterable[int | str], column: str = "id") -> str:
    """`id IN (1, 2)`, or with uuids `uuid IN ('...')`. Whole numbers, and texts of letters, digits and dashes only, so
    it may stand in a statement; another text names no row."""
    plain = [f"'{key}'" if isinstance(key, str) else str(int(key)) for key in keys
             if not isinstance(key, str) or _PLAIN.fullmatch(key)]
    return f"{column} IN ({', '.join(plain) or 'NULL'})"


def insert(table: str, columns: Iterable[str], conflict: str = "", source: str = "", **written: str) -> str:
    """INSERT: each column takes the parameter of its name, or the expression in `written`; without `source` one row.

    `source` ("jobs WHERE ...") makes a row of each of its rows, whose columns of the same names are copied.
    `conflict` follows ON CONFLICT: "DO NOTHING", "(uuid) DO UPDATE SET ...".
    """
    columns = list(columns)
    values = ", ".join(written.get(name, name if source else f":{name}") for name in columns)
    rows = f"SELECT {values} FROM {source}" if source else f"VALUES ({values})"
    return f"INSERT INTO {table} ({', '.join(columns)}) {rows}{' ON CONFLICT ' * bool(conflict)}{conflict}"


def replacing(names: str) -> str:
    """For `conflict`: the row that stands there takes the new values of these columns."""
    return "DO UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in names.split())
