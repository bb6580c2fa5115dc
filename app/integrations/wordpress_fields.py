"""A content as the fields of a post, and the fields of a post as WordPress has them, in one form on both sides.

    title, excerpt   one line, several lines; `&amp;` before a blank is `&`, which WordPress stores for some roles
    body             HTML with \\n, without blanks at the ends of lines, without our marker
    slug             as WordPress makes it: lower case, no accents, hyphens; without the -2 of one that was taken
    date             UTC with Z; a date without a zone is in the zone of the site
    categories, tags JSON list of names, sorted; the spelling (News, news) of ours counts
    image            URL; `#12` is image 12 of the site's media; "" none
    status           draft, publish, future: what we asked for when the post is at least as public, else theirs; without
                     one it is left as it is, and a new post is a draft

The marker is an HTML comment in the last paragraph: after it, WordPress would show an empty one.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any
from urllib.parse import unquote, urlsplit

from app.integrations.markup import FORMATS, to_html
from app.integrations.outside import ItemRefused
from app.integrations.remote import Article, Fields
from app.support.messages import Message

STATUSES, MOST_SLUG, MOST_NAME = ("draft", "publish", "future"), 200, 200  # bytes and characters of WordPress's columns
PUBLIC = ("publish", "future", "private")
_MARKER = re.compile(r"<!--\s*ainstein-key:([0-9a-f]{1,64})\s*-->")
_LAST = re.compile(r"</(?:p|li|h[1-6]|td|dd)>", re.I)
_EMOJI = re.compile(r"&#x(1f[0-9a-f]{3});", re.I)
_APART = re.compile(r"<!--|<(pre|script|style|textarea)(?=[\s>])", re.I)
_BREAK = re.compile(r"(</?[a-z][^<>]*>)?\n(?=(</?[a-z]\w*)?)", re.I)
_INLINE = re.compile(r"</?(?:a|abbr|b|cite|code|del|em|i|img|ins|kbd|mark|q|s|small|span|strong|sub|sup|u)\b", re.I)


def fields_of(article: Article, options: dict[str, Any], zone: Callable[[], tzinfo]) -> Fields:
    """The fields that a content sets; `zone` gives the time zone of the site. Raises ItemRefused with the column."""
    given = {name: value.strip() for name, value in article.attributes.items() if value.strip()}
    status = str(options.get("status") or "")
    if status and status not in STATUSES:
        raise ItemRefused(Message("status must be draft, publish or future, not %(value)s.", value=status[:80]))
    fields = {"title": line(article.title), "body": _html(article.body, given.get("format"))}
    fields |= {"status": status} if status else {}
    if not fields["title"] and not fields["body"]:
        raise ItemRefused(Message("Columns title and body are both empty. WordPress needs one of them."))
    if "slug" in given:
        fields["slug"] = slug(given["slug"])
        if not fields["slug"]:
            raise ItemRefused(Message("Column slug: %(value)s has no letter and no digit.", value=given["slug"][:80]))
    if "excerpt" in given:
        fields["excerpt"] = text(given["excerpt"])
    if "date" in given:
        fields["date"] = _date(given["date"], zone)
    elif status == "future":
        raise ItemRefused(Message("Column date is empty. A post that appears in the future needs a date such as "
                                  "2030-12-24T18:00."))
    for column in ("categories", "tags"):
        if column in given and (found := names(re.split(r"\|" if "|" in given[column] else ",", given[column]))):
            if any(len(name) > MOST_NAME for name in found):
                raise ItemRefused(Message("Column %(column)s: a name has more than %(n)s characters. Separate names by "
                                          "| or by commas.", column=column, n=MOST_NAME))
            fields[column] = as_json(found)
    if "image" in given:
        fields["image"] = _image(given["image"])
    return fields


def accepted(found: Fields, ours: Fields, article: Article) -> Article:
    """The content with those fields of a post that differ from ours."""
    changed = {name: value for name, value in found.items() if value != ours.get(name)}
    attributes = dict(article.attributes)
    for name in ("slug", "excerpt", "date", "image"):
        if name in changed:
            attributes[name] = changed[name]
    for name in ("categories", "tags"):
        if name in changed:
            attributes[name] = "|".join(listed(changed[name])) + "|"  # the last one: a single name may have a comma
    if "body" in changed:
        attributes["format"] = "html"
    return Article(article.reference, changed.get("title", article.title), changed.get("body", article.body),
                   attributes)


def lines(value: str) -> str:
    """A text with \\n at the ends of lines and no blanks before them; emoji that WordPress wrote as numbers."""
    value = _EMOJI.sub(lambda m: chr(int(m[1], 16)), value.replace("\r\n", "\n").replace("\r", "\n"))
    return "\n".join(part.rstrip() for part in value.split("\n")).strip()


def text(value: str) -> str:
    """A text of several lines; an ampersand that stands alone is one sign."""
    return re.sub(r"&amp;(?!#?\w)", "&", lines(value))


def line(value: str) -> str:
    """A text of one line."""
    return " ".join(text(value).split())


def slug(value: str) -> str:
    """The part of an address that WordPress makes of a text (sanitize_title): at most 200 bytes."""
    plain = unicodedata.normalize("NFKD", unquote(value).removesuffix("__trashed"))
    plain = "".join(c for c in plain if not unicodedata.combining(c)).lower()
    plain = re.sub(r"[^\w\s./-]|&#?\w+;", "", plain)
    plain = re.sub(r"[\s./-]+", "-", plain).strip("-")
    return plain.encode()[:MOST_SLUG].decode("utf-8", "ignore")


def numbered(theirs: str, ours: str) -> bool:
    """Whether a slug is ours, or ours with a number, which WordPress adds to one that is taken."""
    return theirs == ours or bool(re.fullmatch(re.escape(ours) + r"-\d+", theirs))


def names(given: list[str]) -> list[str]:
    """Names of categories or tags, each once (whatever its case), sorted."""
    found = (" ".join(html.unescape(re.sub(r"<[^<>]*>", "", name)).split()) for name in given)
    unique = {name.casefold(): name for name in reversed(list(found)) if name}
    return [unique[key] for key in sorted(unique)]


def as_json(found: list[str]) -> str:
    """Names as a field."""
    return json.dumps(found, ensure_ascii=False)


def listed(value: str | None) -> list[str]:
    """The names of a field."""
    return [str(name) for name in json.loads(value)] if value else []


def status_of(theirs: str, ours: str | None) -> str:
    """The status as a field: ours when theirs is as public, so that a post that was published there stays so."""
    if ours == "draft" or (theirs in PUBLIC and ours in PUBLIC):
        return str(ours)
    return theirs


def key_in(content: str) -> str:
    """The key in a marker of a body, or ""."""
    found = _MARKER.search(content)
    return found[1] if found else ""


def unmarked(content: str) -> str:
    """A body as a field: without our marker."""
    return lines(_MARKER.sub("", content))


def marked(body: str, key: str) -> str:
    """A body with the marker: at the end of its last paragraph, or (no paragraph; blocks of the editor) of the body."""
    body, marker = unmarked(body), f"<!-- ainstein-key:{key} -->"
    if "<!-- wp:" in body:
        return f"{body}\n\n{marker}"
    place, offset = len(body), 0
    for piece, apart in _pieces(body):
        if not apart:
            place = max((offset + m.start() for m in _LAST.finditer(piece)), default=place)
        offset += len(piece)
    return body[:place] + marker + body[place:]


def _pieces(made: str) -> Iterator[tuple[str, bool]]:
    """HTML in pieces: text (False); comments, scripts and texts with lines of their own (True). Linear in its length:
    what does not end goes to the end."""
    place = 0
    while opened := _APART.search(made, place):
        ends = re.compile(f"</{opened[1]}" if opened[1] else "-->", re.I).search(made, opened.end())
        yield made[place:opened.start()], False
        place = ends.end() if ends else len(made)
        yield made[opened.start():place], True
    yield made[place:], False


def _html(body: str, form: str | None) -> str:
    if form and form.lower() not in FORMATS:
        raise ItemRefused(Message("Column format must be markdown or html, not %(value)s.", value=form[:80]))
    plain = _MARKER.sub("", body).replace("\r\n", "\n").replace("\r", "\n").strip()
    made = to_html(plain, form)
    return lines(made if made == plain else _one_line_paragraphs(made))


def _one_line_paragraphs(made: str) -> str:
    """HTML of Markdown whose text has no line breaks, which WordPress would show (wpautop)."""
    return "".join(piece if apart else _BREAK.sub(_joined, piece) for piece, apart in _pieces(made))


def _joined(match: re.Match) -> str:
    before, after = match[1] or "", match[2] or ""
    inline = (not before or _INLINE.match(before)) and (not after or _INLINE.match(after))
    at_edge = match.start() == 0 or match.end() == len(match.string)
    blank = match.string[match.end():match.end() + 1] == "\n" or match.string[match.start() - 1:match.start()] == "\n"
    return before + (" " if inline and not at_edge and not blank else "\n")


def _date(value: str, zone: Callable[[], tzinfo]) -> str:
    try:
        found = datetime.fromisoformat(value)
        found = found if found.tzinfo else found.replace(tzinfo=zone())
        found = found.astimezone(UTC)
        if not 1000 <= found.year <= 9998:
            raise ValueError
    except (ValueError, OverflowError):
        raise ItemRefused(Message("Column date: %(value)s is no date such as 2030-12-24 or 2030-12-24T18:00+01:00.",
                                  value=value[:80])) from None
    return found.strftime("%Y-%m-%dT%H:%M:%SZ")


def _image(value: str) -> str:
    first = re.split(r"[\s|]+", value.strip("| "))[0]
    if re.fullmatch(r"#[1-9]\d{0,17}", first, re.A):
        return first
    try:
        parts = urlsplit(first)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or len(first) > 2000:
        raise ItemRefused(Message("Column image: %(value)s is no address that begins with https:// or http://.",
                                  value=first[:80]))
    return first
