"""Posts of a WordPress site (5.6 or later) through its REST API, with an application password.

    content -> fields (wordpress_fields.py) -> categories, tags, image (wordpress_parts.py) -> post (wordpress_api.py)

Our key on a post: the meta field `ainstein_key` where the site registers it for REST (README has the lines), because
no editing touches it. WordPress takes no other meta field over REST; there the key is an HTML comment in the body,
which stays when the post is edited as blocks or as HTML, and which the visual editor may drop. wordpress_find.py looks
for it.

Failure cases:
* Killed after the upload of an image: the image has the digest of its bytes in its slug, and is found again.
* Killed after categories and tags were made: they are found by name.
* A post with the id we know, but with another key (the site was restored): not ours, so as good as deleted.
* Published there, draft here: stays published. Status is never lowered.
* Edited there after it was compared: it is read again right before an update, and left to the next try.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from app.integrations import wordpress_body as bodies, wordpress_fields as form, wordpress_text as texts
from app.integrations.outside import Outside
from app.integrations.remote import Article, Fields, Found, Item
from app.integrations.service_errors import ItemRefused, Limited, Refused
from app.integrations.site_urls import shown
from app.integrations.wordpress_answers import clean
from app.integrations.wordpress_api import META, Api
from app.integrations.wordpress_errors import Missing
from app.integrations.wordpress_find import Finder
from app.integrations.wordpress_parts import image_id
from app.integrations.wordpress_post import Posts, meta_key
from app.integrations.wordpress_slug import may_number
from app.support.messages import Message

NEEDED = ("edit_posts", "publish_posts", "upload_files")


class WordPress:
    """The posts of one site as a remote.Service; `options` of the connection as in wordpress_api.py."""

    name = "wordpress"
    one_way = frozenset({"status"})
    blanks = {"tags": frozenset({"[]"}), "categories": frozenset({"[]"})}

    def __init__(self, outside: Outside, options: dict[str, Any]) -> None:
        self.outside, self._api = outside, Api(outside, options)
        self._posts = Posts(self._api)
        self._finder = Finder(self._api, self._posts)

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
        self._posts.seen.clear()
        for post in self._finder.candidates(item):
            if found is None or (post.binned, int(post.id)) < (found.binned, int(found.id)):
                found = post
        return found

    def read(self, remote_id: str, item: Item) -> Found | None:
        """The post with this id; None when it is deleted, or carries the key of another content."""
        self._posts.seen.clear()
        post = self._posts.one(remote_id, item)
        return post and self._posts.found(post, item)

    def create(self, item: Item) -> Found:
        """Create a post with all fields."""
        self._not_past(item.fields)
        sent = self._payload(item.fields, item) | ({"meta": {META: item.key}} if self._api.has_meta else {})
        sent["content"] = self._content(item.fields.get("body", ""), item)
        return self._posts.found(self._api.call("POST", "posts", what="post", json=sent), item, write=True)

    def update(self, remote_id: str, changes: Fields, item: Item) -> Found:
        """Set these fields. A status is only raised; with `future` the date goes along. Raises Limited when a field was
        changed there since it was read: making the image of a post takes minutes."""
        changes = {name: value for name, value in changes.items() if (name, value) != ("status", "draft")}
        if changes.get("status") == "future":
            self._not_past(item.fields)
            changes["date"] = item.fields["date"]
        sent = self._payload(changes, item)
        before, post = self._posts.seen.get(remote_id), self._posts.one(remote_id, item)
        seen = before and self._posts.found(before, item).fields  # again: names of images may be known now
        if post is None:
            raise Missing(Message("It is no longer there."))
        now = self._posts.found(post, item)
        if now.binned or (seen is not None and now.fields != seen):
            raise Limited(Message("Somebody changed post #%(id)s in WordPress at this moment.", id=remote_id), 1.0)
        if self._api.has_meta and meta_key(post) != item.key:
            sent["meta"] = {META: item.key}
        if not sent:
            return now
        if {"slug", "status"} & sent.keys():
            may_number(item)
        path = f"posts/{quote(remote_id, safe='')}"
        return self._posts.found(self._api.call("POST", path, what="post", json=sent), item, write=True)

    def remove(self, remote_id: str) -> None:
        """Delete a post, not into the bin."""
        with suppress(Missing):
            self._api.call("DELETE", f"posts/{quote(remote_id, safe='')}", force="true")

    def close(self) -> None:
        """End the connection."""
        self.outside.__exit__()

    def _payload(self, changes: Fields, item: Item) -> dict[str, Any]:
        """Fields as WordPress takes them; makes categories, tags and the image."""
        same = ("title", "slug", "excerpt", "status")
        sent: dict[str, Any] = {name: changes[name] for name in same if name in changes}
        if "body" in changes:
            sent["content"] = self._content(changes["body"], item)
        if "date" in changes:
            sent["date_gmt"] = changes["date"].removesuffix("Z")
        for taxonomy in {"categories", "tags"} & changes.keys():
            sent[taxonomy] = [self._posts.terms.id_of(taxonomy, name) for name in texts.listed(changes[taxonomy])]
        if "image" in changes:
            sent["featured_media"] = image_id(self._api, changes["image"], item)
        return sent

    def _content(self, body: str, item: Item) -> str:
        return body if self._api.has_meta else bodies.marked(body, item.key)

    def _not_past(self, fields: Fields) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if fields.get("status") == "future" and fields["date"] <= now:
            raise ItemRefused(Message("Column date: %(date)s has passed. Enter a date in the future, or publish it.",
                                      date=fields["date"]))
