"""`uploads`: files given to jobs."""

from __future__ import annotations

import re

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db

UPLOAD_ID = re.compile(r"up_[0-9a-f]{32}")


class Upload(db.Model):
    """A file, stored in DATA_DIR/uploads under its id. `filename` is the person's name for it; `size` is in bytes."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str | None] = mapped_column(String(64))
    filename: Mapped[str] = mapped_column(String(255))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    job_uuid: Mapped[str | None] = mapped_column(String(36), index=True)
