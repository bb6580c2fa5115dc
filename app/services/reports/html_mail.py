"""A report as the HTML of a mail: tables and inline styles, 600 px wide, no pictures, under the 102 KB that Gmail
shows.

ReportFigures -> opening.of (words) -> `render` (frame and sections), html_parts.py (its pieces) -> one text
It is whole without its `<style>`, which only mends the dark and the narrow look where a program reads it. Every text is
escaped. A section that would make the mail too long is only named; it is in the PDF. Pure: no database, no request.
"""

from __future__ import annotations

from collections.abc import Iterator

from flask_babel import force_locale, gettext as _
from markupsafe import Markup

from app.services.reports import opening
from app.services.reports.document import PRODUCT, Bars, Document, Point, Section, Table
from app.services.reports.html_parts import (
    GROUND,
    LINE,
    MUTED,
    STYLE,
    TEXT,
    bars,
    fact,
    heading,
    line,
    link,
    points,
    table,
)
from app.services.reports.model import ReportFigures

MOST_BYTES = 96_000  # of 102,400, after which Gmail cuts; the foot follows
_HEAD = Markup(
    '<!doctype html><html lang="%s" dir="ltr"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width,initial-scale=1">'
    '<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">'
    '<meta name="format-detection" content="telephone=no,date=no,address=no,email=no"><title>%s</title>')
_TOP = Markup(
    '</head><body class="g" style="margin:0;padding:0;background:%(ground)s;%(font)s" bgcolor="%(ground)s">'
    '<div style="display:none;max-height:0;overflow:hidden;mso-hide:all">%(preview)s</div>'
    '<table role="presentation" class="g" width="100%%" cellpadding="0" cellspacing="0" border="0" '
    'bgcolor="%(ground)s"><tr><td align="center" style="padding:16px 6px">'
    '<!--[if mso]><table role="presentation" width="600"><tr><td><![endif]-->'
    '<table role="presentation" width="100%%" cellpadding="0" cellspacing="0" border="0" style="max-width:600px">'
    '<tr><td class="s" bgcolor="#ffffff" align="left" style="padding:24px;background:#ffffff;color:%(text)s;%(font)s;'
    'font-size:14px;line-height:1.45">')
_FOOT = Markup(
    '<p class="m" style="margin:24px 0 0;padding-top:12px;border-top:1px solid %s;color:%s;font-size:12px">'
    "%s%s · %s</p>")
_END = Markup("</td></tr></table><!--[if mso]></td></tr></table><![endif]--></td></tr></table></body></html>\n")
_FONT = "font-family:Inter,-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif"


def render(figures: ReportFigures, language: str, public_url: str, unsubscribe: str = "/admin/jobs/reports") -> str:
    """The report in "it" or "en". `unsubscribe` is the path of the page where one changes what one gets."""
    language = "en" if language.startswith("en") else "it"
    with force_locale(language):
        document = opening.of(figures, language, public_url, unsubscribe)
        return str(Markup("\n").join(_parts(document)))


def _parts(d: Document) -> Iterator[Markup]:
    preview = " ".join(point.text for point in d.attention)[:150]
    yield _HEAD % (d.language, opening.subject(d)) + STYLE
    yield _TOP % {"ground": GROUND, "font": _FONT, "text": TEXT, "preview": preview}
    opened = list(_opening(d))
    yield from opened
    size = sum(len(part.encode()) for part in opened)
    for section in d.sections:
        drawn = Markup("\n").join(_section(section))
        if size + len(drawn.encode()) > MOST_BYTES:
            drawn = heading(2, section.title) + line(_("This part is in the PDF."), MUTED) + _more(section.more)
        size += len(drawn.encode())
        yield drawn
    if d.notes:
        yield heading(2, _("How this was counted"))
        yield from (line(note, MUTED) for note in d.notes)
    why = Markup("%s %s<br>") % (d.why, link(d.change)) if d.why else ""
    yield _FOOT % (LINE, MUTED, why, PRODUCT, d.made)
    yield _END


def _opening(d: Document) -> Iterator[Markup]:
    yield heading(1, d.title)
    yield line(d.period[:1].upper() + d.period[1:], TEXT, Markup("font-weight:600;"))
    yield line(f"{d.scope} {d.compared}", MUTED)
    yield _more(d.home if d.home.link else None)
    yield heading(2, _("What needs attention"))
    yield points(d.attention)
    yield heading(2, _("Key numbers"))
    gap = Markup('<tr><td colspan="3" style="font-size:1px;line-height:8px" height="8">&nbsp;</td></tr>')
    rows = (Markup('<td width="2%">&nbsp;</td>').join(map(fact, d.facts[n:n + 2])) for n in range(0, len(d.facts), 2))
    yield Markup('<table role="presentation" width="100%%" cellpadding="0" cellspacing="0" border="0">%s</table>') % (
        gap.join(Markup("<tr>%s</tr>") % row for row in rows))


def _section(section: Section) -> Iterator[Markup]:
    yield heading(2, section.title)
    yield from (line(point.text, MUTED) for point in section.sentences)
    for title, block in section.drawn(Table, Bars):
        if title:
            yield heading(3, title)
        yield table(block) if isinstance(block, Table) else bars(block)
    yield _more(section.more)


def _more(more: Point | None) -> Markup:
    return Markup('<p style="margin:8px 0 0">%s</p>') % link(more) if more else Markup("")
