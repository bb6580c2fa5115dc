"""`job_edges`: which job waits for which. An edge stays as long as its child is known, for the graph."""

from __future__ import annotations

from sqlalchemy import Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db


class JobEdge(db.Model):
    """The child waits for the parent while `is_open` is 1. Keys are uuids, because ids of `jobs` end with the job."""

    __tablename__ = "job_edges"
    __table_args__ = (Index("job_edges_child_idx", "child_uuid"), {"sqlite_with_rowid": False})

    parent_uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    child_uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    is_open: Mapped[int] = mapped_column(Integer, server_default="1")
