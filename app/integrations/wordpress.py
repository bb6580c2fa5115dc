"""Posts of a WordPress site (5.6 or later) through its REST API, with an application password.

    content -> fields (wordpress_fields.py) -> categories, tags, image (wordpress_parts.py) -> post (wordpress_api.py)

Our key on a post: the meta field `ainstein_key` where the site registers it for REST (README has the lines), because
no editing touches it. WordPress takes no other meta field over REST; there the key is an HTML comment in the body,
which stays when the post is edited as blocks or as HTML, and which the visual editor may drop. So `find` asks

1. by the key: the meta field, and a search for the comment; also in the bin;
2. after a create whose answer was lost: the newest 100 posts of our user, for one with our slug (or title), made since
   then, and without another key.

Failure cases:
* Killed after the upload of an image: the image has the digest of its bytes in its slug, and is found again.
* Killed after categories and tags were made: they are found by name.
* A post with the id we know, but with another key (the site was restored): not ours, so as good as deleted.
* Published there, draft here: stays published. Status is never lowered.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from app.integrations import wordpress_fields as form
from app.integrations.outside import ItemRefused, Outside, Refused, shown
from app.integrations.remote import Article, Fields, Found, Item
from app.integrations.wordpress_api import META, Api
from app.integrations.wordpress_errors import Missing, clean, odd, whole
from app.integrations.wordpress_parts import PAGE, Terms, image_id, image_of
from app.support.messages import Message

NEEDED = ("edit_posts", "publish_posts", "upload_files")
MOST_PAGES, SKEW = 100, timedelta(minutes=10)
_LISTED = "id,slug,status,title,date_gmt,modified_gmt,meta"


class WordPress:
    """The posts of one site as a remote.Service; `options` of the connection as in wordpress_api.py."""

    name = "wordpress"
    one_way = frozenset({"status"})

    def __init__(self, outside: Outside, options: dict[str, Any]) -> None:
        self.outside, self._api = outside, Api(outside, options)
        self._terms = Terms(self._api)
        self._user = 0
        self._keys: dict[str, list[int]] | None = None  # posts by the key in their meta field
        self._unkeyed = ""  # the post that was read last and has no key in its meta field

    def check(self) -> str:
        """Ask for what a sync needs: REST, password, rights, the form of posts. Returns what was found."""
        me = self._api.call("GET", "users/me", context="edit")
        rights = me.get("capabilities") if isinstance(me.get("capabilities"), dict) else {}
        roles = me.get("roles") if isinstance(me.get("roles"), list) else []
        role = ", ".join(filter(None, map(clean, roles))) or "?"
        user = clean(me.get("name")) or clean(me.get("slug"))
        lacking = [right for right in NEEDED if not rights.get(right)]
        if lacking:
            raise Refused(Message("The user %(user)s (%(role)s) lacks rights: %(rights)s. Give it the role Author or "
                                  "Editor in WordPress.", user=user, role=role, rights=", ".join(lacking)))
        self._api.call("GET", "types/post", context="edit")
        place = Message("the field ainstein_key") if self._api.has_meta else Message("a comment in the text")
        return Message("%(site)s answers, as %(user)s (%(role)s). Posts are recognised by %(place)s.",
                       site=self._api.site.name or shown(self.outside.base), user=user, role=role, place=place)

    def fields_of(self, article: Article, options: dict[str, Any]) -> Fields:
        """What a content sets; see wordpress_fields.py. The site is asked only for the zone of a date without one."""
        return form.fields_of(article, options, lambda: self._api.site.zone)

    def accept(self, found: Fields, article: Article) -> Article:
        """The content with the fields of the post; its body is HTML then."""
        return form.accepted(found, self.fields_of(article, {}), article)

    def find(self, item: Item) -> Found | None:
        """The post with our key: the oldest, and one in the bin only without others."""
        found: Found | None = None
        for post in self._candidates(item):
            if found is None or (post.binned, int(post.id)) < (found.binned, int(found.id)):
                found = post
        return found

    def read(self, remote_id: str, item: Item) -> Found | None:
        """The post with this id; None when it is deleted, or carries the key of another content."""
        try:
            post = self._api.call("GET", f"posts/{quote(remote_id, safe='')}", context="edit")
        except Missing:
            return None
        return None if self._key(post) not in ("", item.key) else self._found(post, item)

    def create(self, item: Item) -> Found:
        """Create a post with all fields."""
        self._not_past(item.fields)
        sent = self._payload(item.fields, item) | ({"meta": {META: item.key}} if self._api.has_meta else {})
        sent["content"] = self._content(item.fields.get("body", ""), item)
        return self._found(self._api.call("POST", "posts", what="post", json=sent), item, write=True)

    def update(self, remote_id: str, changes: Fields, item: Item) -> Found:
        """Set these fields. A status is only raised; with `future` the date goes along."""
        changes = {name: value for name, value in changes.items() if (name, value) != ("status", "draft")}
        if changes.get("status") == "future":
            self._not_past(item.fields)
            changes["date"] = item.fields["date"]
        sent = self._payload(changes, item)
        if self._api.has_meta and self._unkeyed == remote_id:
            sent["meta"] = {META: item.key}
        path = f"posts/{quote(remote_id, safe='')}"
        if not sent:
            return self._found(self._api.call("GET", path, context="edit"), item)
        return self._found(self._api.call("POST", path, what="post", json=sent), item, write=True)

    def remove(self, remote_id: str) -> None:
        """Delete a post, not into the bin."""
        try:
            self._api.call("DELETE", f"posts/{quote(remote_id, safe='')}", force="true")
        except Missing:
            pass

    def close(self) -> None:
        """End the connection."""
        self.outside.__exit__()

    def _candidates(self, item: Item) -> list[Found]:
        ways = [self._by_meta] if self._api.has_meta else []
        binned: list[Found] = []
        for way in (*ways, self._by_search, self._by_circumstance):
            found = [self._found(post, item) for post in way(item)]
            if any(not post.binned for post in found):
                return found
            binned += found
        return binned

    def _list(self, **params: Any) -> list[dict]:
        """Posts that we may edit, also those in the bin, which `any` leaves out."""
        posts = self._api.call("GET", "posts", list, context="edit", status="any,trash", orderby="id", per_page=PAGE,
                           **params)
        if not all(isinstance(post, dict) and whole(post.get("id")) for post in posts):
            raise odd(False)
        return posts

    def _by_search(self, item: Item) -> list[dict]:
        return [post for post in self._list(search=item.key, order="asc") if self._key(post) == item.key]

    def _by_meta(self, item: Item) -> list[dict]:
        """By the meta field: the site may filter by it (README has the lines), else all posts are read once."""
        rows = self._list(order="desc", _fields=_LISTED, ainstein_key=item.key)
        ids = {whole(row["id"]) for row in rows if self._key(row) == item.key}
        if len(ids) < len(rows):
            if self._keys is None:
                self._keys = {self._key(row): [whole(row["id"]) or 0] for row in rows}
                for number in range(2, MOST_PAGES + 1 if len(rows) == PAGE else 2):
                    try:
                        more = self._list(order="desc", _fields=_LISTED, page=number)
                    except ItemRefused:  # there is no such page
                        break
                    for row in more:
                        self._keys.setdefault(self._key(row), []).append(whole(row["id"]) or 0)
                    if len(more) < PAGE:
                        break
            ids.update(self._keys.get(item.key, ()))
        return [post for number in sorted(filter(None, ids)) if (post := self._post(number, item))]

    def _by_circumstance(self, item: Item) -> list[dict]:
        if item.since is None:
            return []
        earliest = (datetime.fromtimestamp(item.since / 1000, UTC) - SKEW).strftime("%Y-%m-%dT%H:%M:%S")
        ours, given = item.fields.get("slug"), item.fields.get("date", "")
        self._user = self._user or whole(self._api.call("GET", "users/me", _fields="id").get("id")) or 0
        found = []
        for row in self._list(order="desc", _fields=_LISTED, author=self._user):
            made = clean(row.get("date_gmt"))
            alike = (form.slug_of(clean(row.get("slug")), ours) == ours if ours else
                     form.line(_raw(row, "title")) == item.fields.get("title"))
            if alike and (made >= earliest or given == f"{made}Z"):
                found.append(self._post(whole(row["id"]) or 0, item))
        return [post for post in found if post]

    def _post(self, number: int, item: Item) -> dict | None:
        """A post, when it is there and carries no other key."""
        try:
            post = self._api.call("GET", f"posts/{number}", context="edit")
        except Missing:
            return None
        return post if self._key(post) in ("", item.key) else None

    def _key(self, post: dict) -> str:
        meta = post.get("meta")
        kept = clean(meta.get(META)) if isinstance(meta, dict) else ""
        return kept or (form.key_in(_raw(post, "content")) if "content" in post else "")

    def _found(self, post: dict, item: Item, write: bool = False) -> Found:
        number, status = whole(post.get("id")), clean(post.get("status"))
        if number is None or not status:
            raise odd(write)
        meta = post.get("meta")
        self._unkeyed = str(number) if not (isinstance(meta, dict) and meta.get(META) == item.key) else ""
        made, changed = clean(post.get("date_gmt")), clean(post.get("modified_gmt"))
        fields = {"title": form.line(_raw(post, "title", write)), "body": form.unmarked(_raw(post, "content", write)),
                  "excerpt": form.text(_raw(post, "excerpt", write)),
                  "slug": form.slug_of(clean(post.get("slug")), item.fields.get("slug")),
                  "date": f"{made}Z" if made else "", "status": form.status_of(status, item.fields.get("status"))}
        for taxonomy in {"categories", "tags"} & item.fields.keys():
            fields[taxonomy] = self._terms.names(taxonomy, post.get(taxonomy), item)
        if "image" in item.fields:
            fields["image"] = image_of(whole(post.get("featured_media")) or 0, item)
        url = clean(post.get("link"))
        edit = f"{self._api.site.admin}/wp-admin/post.php?post={number}&action=edit"
        # A draft without a date has the time of its last change as its date: nothing shows whether it was changed.
        untouched = bool(made) and made == changed and status in form.PUBLIC and _revisions(post) == 0
        return Found(str(number), url if re.match(r"https?://", url) else "", edit,
                     {name: fields[name] for name in item.fields if name in fields}, untouched, status == "trash")

    def _payload(self, changes: Fields, item: Item) -> dict[str, Any]:
        """Fields as WordPress takes them; makes categories, tags and the image."""
        same = ("title", "slug", "excerpt", "status")
        sent: dict[str, Any] = {name: changes[name] for name in same if name in changes}
        if "body" in changes:
            sent["content"] = self._content(changes["body"], item)
        if "date" in changes:
            sent["date_gmt"] = changes["date"].removesuffix("Z")
        for taxonomy in {"categories", "tags"} & changes.keys():
            sent[taxonomy] = [self._terms.id_of(taxonomy, name) for name in form.listed(changes[taxonomy])]
        if "image" in changes:
            sent["featured_media"] = image_id(self._api, changes["image"], item)
        return sent

    def _content(self, body: str, item: Item) -> str:
        return body if self._api.has_meta else form.marked(body, item.key)

    def _not_past(self, fields: Fields) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if fields.get("status") == "future" and fields["date"] <= now:
            raise ItemRefused(Message("Column date: %(date)s has passed. Enter a date in the future, or publish it.",
                                      date=fields["date"]))

def _raw(post: dict, name: str, write: bool = False) -> str:
    """A field as it was written, which WordPress gives to those who may edit."""
    value = post.get(name)
    if not isinstance(value, dict) or not isinstance(value.get("raw"), str):
        raise odd(write)
    return clean(value["raw"])


def _revisions(post: dict) -> int | None:
    try:
        return int(post["_links"]["version-history"][0]["count"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
