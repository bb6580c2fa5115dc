"""A content as the fields of a post, and the fields of a post as WordPress has them, in one form on both sides.

    title, excerpt   one line, several lines; `&amp;` before a blank is `&`, which WordPress stores for some roles
    body             HTML with \\n, without blanks at the ends of lines, without our marker
    slug             as WordPress makes it: lower case, no accents, hyphens; without the -2 of one that was taken
    date             UTC with Z; a date without a zone is in the zone of the site
    categories, tags JSON list of names, sorted; the spelling (News, news) of ours counts
    image            URL; `#12` is image 12 of the site's media; "" none
    status           draft, publish, future: what we asked for when the post is at least as public, else theirs; without
                     one it is left as it is, and a new post is a draft
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from app.integrations.remote import Article, Fields
from app.integrations.service_errors import ItemRefused
from app.integrations.wordpress_body import body_of
from app.integrations.wordpress_columns import date_of, image_url
from app.integrations.wordpress_text import as_json, line, listed, names, slug, text
from app.support.messages import Message

STATUSES, MOST_NAME = ("draft", "publish", "future"), 200  # characters of a column of WordPress
PUBLIC = ("publish", "future", "private")


def fields_of(article: Article, options: dict[str, Any], zone: Callable[[], tzinfo]) -> Fields:
    """The fields that a content sets; `zone` gives the time zone of the site. Raises ItemRefused with the column."""
    given = {name: value.strip() for name, value in article.attributes.items() if value.strip()}
    status = str(options.get("status") or "")
    if status and status not in STATUSES:
        raise ItemRefused(Message("status must be draft, publish or future, not %(value)s.", value=status[:80]))
    fields = {"title": line(article.title), "body": body_of(article.body, given.get("format"))}
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
        fields["date"] = date_of(given["date"], zone)
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
        fields["image"] = image_url(given["image"])
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


def status_of(theirs: str, ours: str | None) -> str:
    """The status as a field: ours when theirs is as public, so that a post that was published there stays so."""
    if ours == "draft" or (theirs in PUBLIC and ours in PUBLIC):
        return str(ours)
    return theirs
