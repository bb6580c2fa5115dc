"""`contents`, the articles of the platform; `import_runs` and `import_rejects`, the state of CSV imports."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id


class Content(db.Model):
    """An article of a tenant ('' without one). `attributes` is a JSON object with the other columns of its file."""

    __tablename__ = "contents"
    __table_args__ = (
        UniqueConstraint("tenant_id", "reference", name="contents_reference_key"), {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(64), server_default="")
    reference: Mapped[str] = mapped_column(String(255))
    title: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    attributes: Mapped[str] = mapped_column(Text, server_default="{}")
    created_ms: Mapped[int] = mapped_column(BigInteger)
    updated_ms: Mapped[int] = mapped_column(BigInteger)


class ImportReject(db.Model):
    """A row of a file that was not imported: its line number in the file (from 1), the reason, and its text as read."""

    __tablename__ = "import_rejects"
    __table_args__ = (Index("import_rejects_uuid_idx", "uuid", "line", unique=True), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36))
    line: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(Text)
    reason_json: Mapped[str | None] = mapped_column(Text)
    row: Mapped[str] = mapped_column(Text)


class ImportRun(db.Model):
    """The progress of an import, committed with its rows, so that a killed import continues from here.

    `row_no` is the number of records processed; the counts are those of all attempts. `repeated` counts unchanged rows
    whose reference occurs again later in the file. `kept` rows with `kept_bytes` of text are in `import_rejects`.
    """

    __tablename__ = "import_runs"

    uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    row_no: Mapped[int] = mapped_column(Integer)
    inserted: Mapped[int] = mapped_column(Integer)
    updated: Mapped[int] = mapped_column(Integer)
    unchanged: Mapped[int] = mapped_column(Integer)
    rejected: Mapped[int] = mapped_column(Integer)
    retry_round: Mapped[int] = mapped_column("round", Integer)
    touched_ms: Mapped[int] = mapped_column(BigInteger)
    repeated: Mapped[int] = mapped_column(Integer, server_default="0")
    kept: Mapped[int] = mapped_column(Integer, server_default="0")
    kept_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
