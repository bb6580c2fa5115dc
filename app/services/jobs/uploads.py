"""Files as arguments: a dispatch copies them into DATA_DIR/uploads, and the arguments hold their ids.

A job argument annotated `UploadedFile` holds an upload id of the job's own tenant and nothing else, so a worker never
opens a path that a person or a script has sent.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Any, BinaryIO

from app.extensions import db
from app.models import UPLOAD_ID, Upload
from app.registry import InvalidArguments, JobDefinition, PermanentError, UploadedFile
from app.support import disk
from app.support.clock import now_ms
from app.support.messages import Message, translate as _
from app.support.process import inside
from app.support.settings import settings
from app.support.validation import CONTROL, ValidationError

CHUNK = 1 << 20  # bytes


def folder() -> Path:
    """DATA_DIR/uploads, which is created when missing."""
    path = settings().data_dir / "uploads"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def path_of(upload_id: str) -> Path | None:
    """The file of an upload; None when the id is malformed or names no regular file of the folder."""
    path = inside(folder(), upload_id) if UPLOAD_ID.fullmatch(upload_id) else None
    return path if path is not None and path.is_file() else None


def save(stream: BinaryIO, filename: str, tenant_id: str | None) -> UploadedFile:
    """Copy a stream into the upload folder and add its row to the caller's transaction.

    Raises ValidationError past UPLOAD_MAX_MB and DiskLow on a nearly full disk. The monitor deletes the file later when
    the transaction is rolled back.
    """
    disk.require_room()
    upload_id = f"up_{secrets.token_hex(16)}"
    path, limit = folder() / upload_id, settings().upload_max_mb
    digest, size = hashlib.sha256(), 0
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            while chunk := stream.read(CHUNK):
                size += len(chunk)
                if size > limit * 2**20:
                    raise ValidationError(
                        _("The file is larger than %(n)s MB. Split it, or raise UPLOAD_MAX_MB.", n=limit))
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    name = clean_name(filename)
    db.session.add(Upload(id=upload_id, tenant_id=tenant_id, filename=name, sha256=digest.hexdigest(), size=size,
                          created_ms=now_ms()))
    return UploadedFile(path, name, upload_id)


def keep() -> None:
    """Commit the uploads of this transaction for a later job; the monitor deletes them after an hour without one."""
    db.session.commit()


def copy_in(path: str, tenant_id: str | None, filename: str | None = None) -> UploadedFile:
    """Copy a regular file of this machine, as `save` does; raises ValidationError when it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValidationError(_("The file %(name)s cannot be read: %(why)s.", name=repr(path), why=why)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValidationError(_("%(name)s is not a regular file.", name=repr(path)))
    with open(descriptor, "rb") as stream:
        return save(stream, filename or os.path.basename(path), tenant_id)


def clean_name(filename: str) -> str:
    """The last part of a file name, without control characters and marks of direction, at most 200 characters."""
    last = CONTROL.sub("", filename.replace("\\", "/").rsplit("/", 1)[-1])
    name = re.sub(r"[\ud800-\udfff]", "", last).strip()
    return name[-200:] or "file"


def file_fields(definition: JobDefinition, args: dict[str, Any]) -> list[str]:
    """Names of the arguments that are files and are given."""
    return [f.name for f in definition.fields if f.kind == "file" and args.get(f.name) is not None]


def to_ids(definition: JobDefinition, args: dict[str, Any], tenant_id: str | None, uuid: str) -> dict[str, Any]:
    """A copy of the arguments with the upload id of each file, which from now on belongs to job `uuid`.

    Raises InvalidArguments for a value that is not an upload of this tenant.
    """
    result = dict(args)
    for name in file_fields(definition, args):
        value = args[name]
        upload_id = value.upload_id if isinstance(value, UploadedFile) else value
        if upload_id is None:
            upload_id = copy_in(str(value.path), tenant_id).upload_id
        db.session.flush()
        valid = isinstance(upload_id, str) and UPLOAD_ID.fullmatch(upload_id)
        row = db.session.get(Upload, upload_id) if valid else None
        fits = row is not None and row.tenant_id == tenant_id
        taken = fits and row.job_uuid not in (None, uuid)  # by another job: this one gets a copy, swept with it
        if not fits or (taken and path_of(upload_id) is None):
            raise InvalidArguments(_("%(name)s must be a file uploaded for this tenant.", name=name))
        if taken:
            upload_id = copy_in(str(path_of(upload_id)), tenant_id, row.filename).upload_id
            db.session.flush()
            row = db.session.get(Upload, upload_id)
        row.job_uuid = uuid
        result[name] = upload_id
    db.session.flush()
    return result


def find(upload_id: str) -> tuple[UploadedFile, Upload] | None:
    """A stored file and its row; None when either is gone."""
    path = path_of(upload_id)
    row = db.session.get(Upload, upload_id) if path is not None else None
    return (UploadedFile(path, row.filename, row.id), row) if row is not None else None


def names_of(args: dict[str, Any]) -> dict[str, str]:
    """{argument: file name} of the uploads among the arguments."""
    return {name: row.filename for name, value in args.items()
            if isinstance(value, str) and UPLOAD_ID.fullmatch(value) and (row := db.session.get(Upload, value))}


def open_files(definition: JobDefinition, args: dict[str, Any], tenant_id: str | None) -> dict[str, Any]:
    """The arguments with an `UploadedFile` for each upload id. Raises PermanentError when a file is gone."""
    names = file_fields(definition, args)
    if not names:
        return args
    result = dict(args)
    for name in names:
        found = find(str(args[name]))
        if found is None or found[1].tenant_id != tenant_id:
            raise PermanentError(
                Message("The uploaded file of %(name)s is no longer there. Upload it again with a new job.", name=name))
        result[name] = found[0]
    db.session.rollback()  # no transaction stays open while the job runs
    return result
