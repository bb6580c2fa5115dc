"""A report as files: PDF, HTML, plain text, or its CSVs. The same for mails, downloads and the command line.

ReportFigures, format, language -> (name, type, bytes) of each file -> `one`: a single file, several CSVs as a zip
Needs an application context and no database.
"""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime, timedelta

from app.services.reports.model import ReportFigures
from app.support.settings import settings

FORMATS = {"pdf": "application/pdf", "html": "text/html; charset=utf-8", "csv": "text/csv; charset=utf-8",
           "txt": "text/plain; charset=utf-8"}
ZIP = "application/zip"


def name_of(found: ReportFigures) -> str:
    """'report-2026-11-16-2026-11-22': its first and its last day."""
    zone = settings().timezone
    first, last = (datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone) for ms in (found.since, found.until))
    days = dict.fromkeys(f"{day:%Y-%m-%d}" for day in (first, last - timedelta(milliseconds=1)))
    return "-".join(["report", *days])


def files_of(found: ReportFigures, form: str, language: str) -> list[tuple[str, str, bytes]]:
    """The files of one of FORMATS. Raises KeyError for another."""
    kind, name = FORMATS[form], name_of(found)
    url = settings().public_url
    if form == "pdf":
        from app.services.reports import pdf  # here: reportlab takes 20 MB, and most processes never draw

        return [(f"{name}.pdf", kind, pdf.render(found, language, url))]
    if form == "csv":
        from app.services.reports import report_csv

        return [(f"{name}-{part}", kind, text.encode()) for part, text in report_csv.files(found).items()]
    from app.services.reports import html_mail, plain

    text = (html_mail if form == "html" else plain).render(found, language, url, "")  # no plan sends it
    return [(f"{name}.{form}", kind, text.encode())]


def one(found: ReportFigures, form: str, language: str) -> tuple[str, str, bytes]:
    """The file of one of FORMATS: several CSVs in a zip. Raises KeyError for another."""
    made = files_of(found, form, language)
    if len(made) == 1:
        return made[0]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, _kind, content in made:
            archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return f"{name_of(found)}-csv.zip", ZIP, packed.getvalue()
