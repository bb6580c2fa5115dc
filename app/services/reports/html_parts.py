"""The pieces of the HTML of a mail: headings, lines, links, key numbers, tables, bars. All texts are escaped here.

Colours of text stand beside each ground, so that a program that inverts them keeps the contrast. Where `<style>` is
read, its classes give the dark look: g ground, s sheet, m muted, z striped, d data, k card.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from flask_babel import gettext as _
from markupsafe import Markup, escape

from app.services.reports.document import Bars, Cell, Fact, Head, Point, Table

TEXT, MUTED, LINK, LINE, GROUND = "#1b2330", "#586374", "#2457c5", "#e2e6ec", "#f6f7f9"
FAILED, COMPLETED = "#d55e00", "#009e73"
LONGEST, SHORT = 12, 8  # characters of a word before it may be broken, and of a number that may not
TONES = {"bad": "#9a2312", "good": "#14603a"}
STYLE = Markup("""<style>
:root{color-scheme:light dark;supported-color-schemes:light dark}
@media (prefers-color-scheme:dark){
.g{background:#0f131a!important}.s{background:#171c25!important}.z{background:#202735!important}
.s,.s td,.s th,.s p,.s h1,.s h2,.s h3{color:#e5e9f0!important}.s .d,.s p{border-color:#3a4453!important}
.s .m,.s td.m,.s p.m{color:#9ba7b8!important}.s a{color:#8db2ff!important}.s .k{border-color:#3a4453!important}
.s .bad{color:#ffb0a3!important}.s .good{color:#86dcae!important}}
@media (max-width:480px){.d td,.d th{padding:5px 2px!important;font-size:11px!important}.s{padding:10px!important}}
</style><!--[if mso]><style>td,th,p,a,h1,h2,h3{font-family:Arial,sans-serif!important}</style><![endif]-->""")
_STRIPED, _PLAIN = Markup(' class="z" bgcolor="#f3f5f8"'), Markup("")
_TD, _TH, _RIGHT = Markup("td"), Markup("th"), Markup(" align=right")
_TABLE = Markup(
    '<table class="d" width="100%%" cellpadding="6" cellspacing="0" border="0" style="border-collapse:collapse;'
    'font-size:13px;line-height:1.35;border-bottom:1px solid %s">\n'
    '<tr class="z" bgcolor="%s" valign="top">%s</tr>\n%s</table>')
_FACT = Markup(
    '<td class="k" width="49%%" valign="top" style="padding:10px 12px;border:1px solid %s;border-radius:6px">'
    '<span class="m" style="font-size:12px;color:%s">%s</span><br>'
    '<b style="font-size:20px;line-height:1.3">%s</b><br>'
    '<span class="m" style="font-size:12px;color:%s">%s</span><br>%s</td>')
_POINT = Markup(
    '<tr><td width="4" bgcolor="%s" style="font-size:1px">&nbsp;</td><td style="padding:4px 0 4px 10px">%s</td></tr>'
    '<tr><td height="4" colspan="2" style="font-size:1px;line-height:4px">&nbsp;</td></tr>')
_BARS = Markup('<div aria-hidden="true" style="margin-bottom:8px"><p class="m" style="margin:8px 0 4px;font-size:12px;'
               'color:%s">%s</p>%s</div>')
_SEAMS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[_/.:-])")
_FRAME = Markup('<table role="presentation" width="100%%" cellpadding="%s" cellspacing="0" border="0">%s</table>')


def heading(level: int, text: str) -> Markup:
    """A heading of level 1 to 3."""
    size, above = {1: (22, 0), 2: (17, 26), 3: (14, 16)}[level]
    return Markup('<h%s style="margin:%spx 0 6px;font-size:%spx;line-height:1.3;font-weight:600">%s</h%s>') % (
        level, above, size, text, level)


def line(text: str, colour: str, style: Markup = _PLAIN) -> Markup:
    """A paragraph."""
    kind = Markup(' class="m"') if colour == MUTED else _PLAIN
    return Markup('<p%s style="margin:0 0 4px;%scolor:%s">%s</p>') % (kind, style, colour, broken(text))


def link(point: Point) -> Markup:
    """A sentence, as a link where it has one."""
    if not point.link:
        return broken(point.text)
    return Markup('<a href="%s" style="color:%s">%s</a>') % (point.link, LINK, broken(point.text))


def points(all: Iterable[Point]) -> Markup:
    """Sentences, each behind a stripe in the colour of its tone."""
    return _FRAME % (0, Markup("").join(_POINT % (TONES.get(point.tone, MUTED), link(point)) for point in all))


def fact(one: Fact) -> Markup:
    """The cell of a key number."""
    colour = Markup(";color:%s") % TONES[one.tone] if one.tone in TONES else _PLAIN
    change = Markup('<b class="%s" style="font-size:12px%s">%s</b>') % (one.tone, colour, one.change or "–")
    return _FACT % (LINE, MUTED, link(Point(one.label, one.link)), one.value, MUTED,
                    _("before: %(value)s", value=one.before), change)


def table(one: Table) -> Markup:
    """A table of data, or the sentence that it has no rows."""
    if not one.rows:
        return line(one.empty, MUTED)
    heads = Markup("").join(_cell(_TH, Cell(head.text, head.sub), head, Markup(" scope=col")) for head in one.heads)
    rows = (Markup("<tr valign=top%s>%s</tr>") % (_STRIPED if n % 2 else _PLAIN, Markup("").join(
        _cell(_TD, cell, head) for cell, head in zip(row, one.heads, strict=True))) for n, row in enumerate(one.rows))
    return _TABLE % (LINE, LINE, heads, Markup("\n").join(rows))


def _cell(tag: Markup, cell: Cell, head: Head, scope: Markup = _PLAIN) -> Markup:
    sub = Markup('<br><small class="m" style="color:%s">%s</small>') % (MUTED, broken(cell.sub))
    side = _RIGHT if head.number else Markup(" align=left") if scope else _PLAIN
    text = cell.text.replace(" ", "\N{NO-BREAK SPACE}") if head.number and len(cell.text) <= SHORT else cell.text
    return Markup("<%s%s%s>%s%s</%s>") % (
        tag, scope, side, link(Point(text, cell.link)), sub if cell.sub else _PLAIN, tag)


def bars(chart: Bars) -> Markup:
    """Bars of table cells; the table that follows has the numbers, so screen readers skip them."""
    most = max((low + high for _label, low, high, _before in chart.points), default=0) or 1
    legend = Markup('<span style="color:%s">&#9632;</span> %s &nbsp; <span style="color:%s">&#9632;</span> %s') % (
        FAILED, chart.names[0], COMPLETED, chart.names[1])
    rows = (Markup('<tr><td width="60" class="m" style="color:%s;font-size:12px">%s</td><td>%s</td></tr>') % (
        MUTED, label, _bar(low / most, high / most)) for label, low, high, _before in chart.points)
    return _BARS % (MUTED, legend, _FRAME % (2, Markup("").join(rows)))


def _bar(low: float, high: float) -> Markup:
    first = max(round(100 * low), 1) if low else 0  # a few failures among many jobs are seen too
    shares = ((first, FAILED), (min(round(100 * high), 100 - first), COMPLETED))
    cells = (Markup('<td width="%s%%" bgcolor="%s" style="font-size:1px;line-height:10px">&nbsp;</td>') % part
             for part in shares if part[0])
    rest = _PLAIN if sum(share for share, _colour in shares) >= 100 else Markup('<td style="font-size:1px">&nbsp;</td>')
    return _FRAME % (0, Markup("<tr>%s%s</tr>") % (Markup("").join(cells), rest))


def broken(text: str) -> Markup:
    """The text, escaped; long words may be broken, so that no name widens the mail: before a capital and behind a sign,
    and elsewhere where neither is near."""
    return Markup(" ").join(Markup("<wbr>").join(map(escape, _pieces(word))) for word in text.split(" "))


def _pieces(word: str) -> list[str]:
    parts = _SEAMS.split(word) if len(word) > LONGEST else [word]
    return [part[n:n + LONGEST] for part in parts for n in range(0, len(part) or 1, LONGEST)]
