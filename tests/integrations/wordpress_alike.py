"""What both a real WordPress and the fake one must do with WordPress(): test_wordpress.py and test_real_wordpress.py run
these tests, each with its own fixture `blog`."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
import uuid
import zlib
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.integrations.outside import Outside
from app.integrations.remote import Article, Item
from app.integrations.service_errors import ItemRefused, Refused
from app.integrations.wordpress import WordPress

PNG = (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde\0\0\0\x0cIDATx\x9cc\xf8\xcf\xc0\0\0\3\1\1\0\xc9\xfe\x92\xef"
       b"\0\0\0\0IEND\xaeB`\x82")


def png() -> bytes:
    """A picture of one dot that no other picture equals."""
    text = b"tEXtnote\0" + uuid.uuid4().hex.encode()
    return PNG[:33] + (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big") + PNG[33:]


class Pictures(ThreadingHTTPServer):
    """Serves each path of `files`: (status, headers, body); counts the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        self.files: dict[str, tuple] = {}
        self.asked: list[tuple[str, dict]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.asked.append((self.path, dict(self.headers)))
                status, headers, body = outer.files[self.path]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def picture(self, name: str, body: bytes | None = None) -> str:
        self.files[f"/{name}"] = 200, {"Content-Type": "image/png"}, png() if body is None else body
        return f"{self.url}/{name}"


@pytest.fixture
def pictures():
    server = Pictures()
    yield server
    server.shutdown()
    server.server_close()


class Blog:
    """A site and an account on it. `set` changes the site; `ask` is what a person does there."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url, self.user, self.password = url, user, password
        self.opened: list[WordPress] = []
        self.read_s = self.total_s = 20.0

    def set(self, **options) -> None:
        raise NotImplementedError

    def account(self, role: str) -> tuple[str, str]:
        """User and password of an account with this role."""
        raise NotImplementedError

    def service(self, user: str | None = None, password: str | None = None, **options) -> WordPress:
        outside = Outside(self.url, user or self.user, password or self.password, private=True, read_s=self.read_s, total_s=self.total_s)
        self.opened.append(WordPress(outside, options))
        return self.opened[-1]

    def ask(self, method: str, path: str, body=None, **params):
        query = "".join(f"&{name}={value}" for name, value in params.items())
        request = urllib.request.Request(
            f"{self.url}/?rest_route=/wp/v2/{path}{query}", method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json",
                     "Authorization": "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def item_of(service: WordPress, title: str = "Pumps", body: str = "Warm *water*.", status: str = "draft", **attributes) -> Item:
    reference = attributes.pop("reference", "") or uuid.uuid4().hex
    fields = service.fields_of(Article(reference, title, body, attributes), {"status": status})
    return Item(reference, uuid.uuid5(uuid.NAMESPACE_URL, reference).hex[:24], fields)


def since() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def test_what_was_sent_is_what_stands_there(blog, pictures):
    service, name = blog.service(), uuid.uuid4().hex[:8]
    item = item_of(service, f"Fish & <em>chips</em> {name}", "# One\n\nline\nline *two*  \nthree\n\n- a\n- b & c\n\n```\nx  \n\n y\n```\n",
                   slug=f"Mia Pagina È {name}", excerpt="Fish & chips\r\n\r\nare “good” ☃ 🐟 ", date="2020-07-02T03:04:05",
                   categories=f"News & Views {name}|sport {name}|Sport {name}", tags=f"a {name}, Caffè {name} ,a {name}",
                   image=pictures.picture("dot.png"), status="publish")
    found = service.create(item)
    assert found.fields == item.fields and found.untouched and not found.binned
    assert item.fields["date"] == "2020-07-02T01:04:05Z"  # the zone of the site
    assert item.fields["slug"] == f"mia-pagina-e-{name}"
    assert found.url.startswith("http://127.0.0.1") and found.edit_url.endswith(f"/wp-admin/post.php?post={found.id}&action=edit")
    assert service.find(item) == found == service.read(found.id, item)
    again = blog.service()
    assert again.find(item) == found
    changed = item_of(service, "Other", "<p>x</p>", reference=item.reference, slug=f"mia-pagina-e-{name}-b", status="publish")
    assert service.update(found.id, changed.fields, item).fields | changed.fields == item.fields | changed.fields


def test_only_what_changed_is_sent(blog):
    service = blog.service()
    item = item_of(service, excerpt="short")
    found = service.create(item)
    blog.ask("POST", f"posts/{found.id}", {"title": "Theirs", "content": "<p>theirs</p>"})  # the comment is lost
    theirs = service.read(found.id, item)
    assert (theirs.fields["title"], theirs.fields["body"], theirs.fields["excerpt"]) == ("Theirs", "<p>theirs</p>", "short")
    assert not theirs.untouched
    after = service.update(found.id, {"excerpt": "long"}, item)
    assert after.fields == theirs.fields | {"excerpt": "long"}
    after = service.update(found.id, {"body": "<p>ours</p>"}, item)
    assert after.fields["body"] == "<p>ours</p>" and after.fields["title"] == "Theirs"
    assert service.find(item).id == found.id  # a body of ours has the comment again


def test_the_key_survives_an_edit_of_the_text(blog):
    service = blog.service()
    item = item_of(service, body="<p>one</p>\n<p>two</p>")
    found = service.create(item)
    raw = blog.ask("GET", f"posts/{found.id}", context="edit")["content"]["raw"]
    blog.ask("POST", f"posts/{found.id}", {"content": "<p>before</p>\n" + raw.replace("two", "three")})
    theirs = service.find(item)
    assert (theirs.id, theirs.fields["body"]) == (found.id, "<p>before</p>\n<p>one</p>\n<p>three</p>")


@pytest.mark.parametrize("attributes", [{}, {"slug": "by-slug"}])
def test_a_post_whose_comment_was_removed_is_found_by_its_circumstances(blog, attributes):
    service, name = blog.service(), uuid.uuid4().hex[:8]
    attributes = {key: f"{value}-{name}" if key == "slug" else value for key, value in attributes.items()}
    item = item_of(service, f"Lost {name}", **attributes)
    item.since = since()
    found = service.create(item)
    blog.ask("POST", f"posts/{found.id}", {"content": "<p>x</p>"} | ({"title": "Other"} if "slug" in attributes else {}))
    lost = service.find(item)
    assert lost.id == found.id and not lost.untouched
    other = item_of(service, f"Lost {name}", **attributes)  # the same title and slug, another key
    second = service.create(other)
    other.since = item.since
    assert second.id != found.id and service.find(other).id == second.id
    item.since = None
    assert service.find(item) is None


def test_a_post_of_long_ago_or_with_another_key_is_not_ours(blog):
    service, name = blog.service(), uuid.uuid4().hex[:8]
    blog.ask("POST", "posts", {"title": f"Old {name}", "content": "x", "date_gmt": "2019-01-01T00:00:00", "status": "publish"})
    for attributes in ({}, {"date": "2019-01-01T00:00:00Z"}):
        first = item_of(service, f"Old {name}", **attributes)
        first.since = since()
        assert service.find(first) is None
    service.create(first)
    second = item_of(service, f"Old {name}")
    second.since = first.since
    assert service.find(second) is None


def test_in_the_bin_and_deleted(blog):
    service = blog.service()
    item = item_of(service, slug=f"s{uuid.uuid4().hex[:8]}", status="publish")
    first = service.create(item)
    blog.ask("DELETE", f"posts/{first.id}")
    binned = service.read(first.id, item)
    assert binned.binned and binned.fields["slug"] == item.fields["slug"]
    assert service.find(item) == binned
    second = service.create(item)
    assert service.find(item).id == second.id
    service.remove(second.id)
    service.remove(second.id)
    assert service.find(item).id == first.id
    service.remove(first.id)
    assert service.read(first.id, item) is None and service.find(item) is None
    with pytest.raises(ItemRefused, match="no longer there"):
        service.update(first.id, {"title": "x"}, item)


def test_of_two_the_older_one_and_only_posts_of_this_key(blog):
    service = blog.service()
    item = item_of(service)
    first, second = service.create(item), service.create(item)
    assert int(first.id) < int(second.id) and service.find(item).id == first.id
    other = Item("other", "f" * 24, item.fields)
    assert service.read(first.id, other) is None
    assert service.find(Item("part", item.key[:12], item.fields)) is None
    assert service.read("999999999", item) is None


@pytest.mark.parametrize("status", ["draft", "publish"])
def test_a_slug_that_is_taken_gets_a_number_there_and_stays_ours(blog, status):
    service, slug = blog.service(), f"taken-{uuid.uuid4().hex[:8]}"
    blog.ask("POST", "posts", {"title": "First", "content": "x", "slug": slug, "status": "publish"})
    item = item_of(service, slug=slug, status=status)
    found = service.create(item)
    assert found.fields == item.fields
    assert blog.ask("GET", f"posts/{found.id}", context="edit")["slug"] == f"{slug}-2"
    blog.ask("POST", f"posts/{found.id}", {"slug": f"{slug}-new"})
    assert service.read(found.id, item).fields["slug"] == f"{slug}-new"


def test_categories_and_tags_are_made_once(blog):
    service, name = blog.service(), uuid.uuid4().hex[:8]
    blog.ask("POST", "categories", {"name": f"R & D {name}"})
    item = item_of(service, categories=f"r & d {name}", tags=f"x < y {name}, “è” {name}")
    found = service.create(item)
    assert found.fields["categories"] == json.dumps([f"r & d {name}"])
    assert json.loads(found.fields["tags"]) == json.loads(item.fields["tags"])
    again = item_of(blog.service(), categories=f"R &amp; D {name}", tags=f"X &lt; y {name},“È” {name}")
    blog.service().create(again)
    assert len(blog.ask("GET", "categories", search=name)) == 1 and len(blog.ask("GET", "tags", search=name)) == 2
    blog.ask("POST", f"posts/{found.id}", {"categories": [1], "tags": []})
    assert service.create(item_of(service, tags=f"“e” {name}")).fields["tags"] == json.dumps([f"“e” {name}"], ensure_ascii=False)
    assert len(blog.ask("GET", "tags", search=name)) == 3  # e is not è
    theirs = service.read(found.id, item)
    assert (theirs.fields["categories"], theirs.fields["tags"]) == ("[]", "[]")


def test_an_image_is_uploaded_once(blog, pictures):
    service, kept = blog.service(), []
    url, slug = pictures.picture("dot.png"), f"s{uuid.uuid4().hex[:8]}"
    item = item_of(service, image=url, slug=slug)
    item.keep = lambda: kept.append(dict(item.notes))
    found = service.create(item)
    assert found.fields["image"] == url and kept == [item.notes] and list(item.notes) == [f"image:{url}"]
    assert "Authorization" not in pictures.asked[0][1]
    number = item.notes.pop(f"image:{url}")  # killed before the note
    assert service.read(found.id, item).fields["image"] == f"#{number}"
    service.update(found.id, {"image": url}, item)
    assert item.notes == {f"image:{url}": number} and len(blog.ask("GET", "media", search=slug)) == 1
    service.update(found.id, {"image": url}, item)
    assert len(pictures.asked) == 2  # it is known by its note
    blog.ask("DELETE", f"media/{number}", force="true")
    assert service.read(found.id, item).fields["image"] == ""
    assert service.update(found.id, {"image": url}, item).fields["image"] == url
    blog.ask("POST", f"posts/{found.id}", {"featured_media": 0})
    assert service.read(found.id, item).fields["image"] == ""
    assert service.update(found.id, {"image": f"#{item.notes[f'image:{url}']}"}, item).fields["image"] == url


def test_what_is_no_image_is_refused(blog, pictures):
    service = blog.service()
    item = item_of(service, image=pictures.picture("dot.tif", b"II*\0"))  # of a kind that both sites exclude
    pictures.files["/dot.tif"][1]["Content-Type"] = "image/tiff"
    with pytest.raises(ItemRefused, match="WordPress does not take the image: .*file type"):
        service.create(item)
    assert service.find(item) is None


def test_a_post_is_never_made_less_public(blog):
    service = blog.service()
    item = item_of(service)
    found = service.create(item)
    assert found.fields["status"] == "draft"
    blog.ask("POST", f"posts/{found.id}", {"status": "publish"})
    assert service.read(found.id, item).fields["status"] == "draft"  # at least
    assert service.update(found.id, {"status": "draft", "title": "New"}, item).fields["title"] == "New"
    assert blog.ask("GET", f"posts/{found.id}", context="edit")["status"] == "publish"
    assert service.update(found.id, {"status": "draft"}, item).id == found.id
    other = item_of(service)
    found = service.create(other)
    other.fields["status"] = "publish"
    assert service.read(found.id, other).fields["status"] == "draft"
    assert service.update(found.id, {"status": "publish"}, other).fields["status"] == "publish"
    blog.ask("POST", f"posts/{found.id}", {"status": "draft"})
    assert service.read(found.id, other).fields["status"] == "draft"


def test_a_post_appears_in_the_future(blog):
    service = blog.service()
    item = item_of(service, date=in_days(3), status="future")
    found = service.create(item)
    assert found.fields == item.fields
    assert blog.ask("GET", f"posts/{found.id}", context="edit")["status"] == "future"
    item = item_of(service, date=in_days(3), status="publish")
    assert service.create(item).fields == item.fields
    late = item_of(service, date=in_days(-3), status="future")
    with pytest.raises(ItemRefused, match="Column date: .* has passed"):
        service.create(late)
    assert service.find(late) is None
    raised = item_of(service)
    found = service.create(raised)
    later = item_of(service, date=in_days(5), status="future", reference=raised.reference)
    assert service.update(found.id, {"status": "future", "date": later.fields["date"]}, later).fields == later.fields
    assert blog.ask("GET", f"posts/{found.id}", context="edit")["status"] == "future"


def test_an_author_may_not_do_all(blog):
    service, name = blog.service(*blog.account("author")), uuid.uuid4().hex[:8]
    item = item_of(service, "A & B", '<p>1 & 2</p>\n<script>x</script>\n<p>3</p>', excerpt="C & D", tags=f"t {name}", status="publish")
    found = service.create(item)
    assert found.untouched and found.fields | {"body": ""} == item.fields | {"body": ""}
    assert "script" not in found.fields["body"] and service.find(item) == found  # the comment passes the filter
    with pytest.raises(ItemRefused, match="may not make new categories"):
        service.create(item_of(service, categories=f"c {name}"))
    theirs = blog.service().create(item_of(blog.service()))
    with pytest.raises(ItemRefused, match="may not edit this post"):
        service.update(theirs.id, {"title": "x"}, item)
    with pytest.raises(ItemRefused, match="may not edit this post"):
        service.read(theirs.id, item)
    assert "author" in service.check()


def test_who_may_not_publish_is_told(blog):
    service = blog.service(*blog.account("contributor"))
    with pytest.raises(Refused, match=r"contributor\) lacks rights: publish_posts, upload_files\. Give it the role Author"):
        service.check()
    with pytest.raises(Refused, match="may not publish"):
        service.create(item_of(service, status="publish"))


def test_the_check_says_what_it_found(blog):
    said = blog.service().check()
    assert said.startswith(f"Blog & Co answers, as {blog.user} (") and said.endswith("Posts are recognised by a comment in the text.")
    blog.set(meta=True)
    assert blog.service().check().endswith("Posts are recognised by the field ainstein_key.")


@pytest.mark.parametrize("user, password", [("editor", "wrong"), ("nobody", "wrong")])
def test_a_wrong_password(blog, user, password):
    with pytest.raises(Refused, match="did not accept the application password|does not know this user"):
        blog.service(user, password).check()
    service = blog.service(user, password)
    with pytest.raises(Refused):
        service.create(item_of(service))


def test_without_permalinks(blog):
    blog.set(pretty=False)
    service = blog.service()
    item = item_of(service, categories="Café & more", slug=uuid.uuid4().hex)
    found = service.create(item)
    assert found.fields == item.fields and service.find(item) == found
    assert "Blog & Co" in blog.service(rest="?rest_route=/").check()


@pytest.mark.parametrize("filtered", [False, True])
def test_the_key_in_a_meta_field(blog, filtered):
    before = blog.service()
    old = item_of(before, "Before")
    marked = before.create(old)
    blog.set(meta=True, filter=filtered)
    service = blog.service()
    item = item_of(service, body="<p>x</p>")
    found = service.create(item)
    post = blog.ask("GET", f"posts/{found.id}", context="edit")
    assert (post["content"]["raw"], post["meta"]["ainstein_key"]) == ("<p>x</p>", item.key)
    assert service.find(item) == found == blog.service().find(item)
    blog.ask("POST", f"posts/{found.id}", {"content": "<p>theirs</p>", "title": "theirs"})
    assert blog.service().find(item).id == found.id
    assert service.find(old).id == marked.id  # of the time before the field
    service.update(marked.id, {"title": "After"}, old)
    assert blog.ask("GET", f"posts/{marked.id}", context="edit")["meta"]["ainstein_key"] == old.key
    assert service.find(item_of(service)) is None


def test_a_version_of_theirs_is_taken_over(blog, pictures):
    service, name = blog.service(), uuid.uuid4().hex[:8]
    attributes = {"categories": f"A, B {name}|c {name}", "tags": f"t {name}", "slug": f"s{name}", "image": pictures.picture("a.png")}
    article = Article(name, "Ours", "Ours *is* Markdown.", attributes)
    item = Item(name, name * 3, service.fields_of(article, {"status": "draft"}))
    found = service.create(item)
    assert service.accept(found.fields, article) == article
    category = blog.ask("POST", "categories", {"name": f"X, Y {name}"})
    blog.ask("POST", f"posts/{found.id}", {"content": "<p>Theirs</p>\n<p>two\nlines</p>", "title": "Theirs", "categories": [category["id"]],
                                         "featured_media": 0})
    theirs = service.read(found.id, item)
    accepted = service.accept(theirs.fields, article)
    assert accepted.body == "<p>Theirs</p>\n<p>two\nlines</p>" and accepted.title == "Theirs"
    wanted = service.fields_of(accepted, {"status": "draft"})
    assert wanted == {key: value for key, value in theirs.fields.items() if key != "image"}


def test_a_post_without_title_or_body(blog):
    service = blog.service()
    item = item_of(service, "", "only text")
    assert service.create(item).fields == item.fields
    item = item_of(service, "only a title", "")
    found = service.create(item)
    assert found.fields == item.fields and service.find(item) == found


def test_no_such_address(blog):
    wrong = Blog(blog.url.rpartition("/")[0] + "/nowhere", blog.user, blog.password)
    with pytest.raises(Refused, match="There is no REST API of WordPress at .*/nowhere"):
        wrong.service().check()
    for tail in ("/", "/wp-json/", "/wp-json/wp/v2/posts", "/wp-admin/", "/wp-login.php"):
        assert "Blog & Co" in Blog(blog.url + tail, blog.user, blog.password).service().check()


def test_edits_meanwhile_are_not_called_untouched(blog):
    service = blog.service()
    item = item_of(service, status="publish", date="2020-01-01")
    found = service.create(item)
    assert found.untouched
    blog.ask("POST", f"posts/{found.id}", {"title": "Theirs"})
    assert not service.find(item).untouched
    draft = item_of(service)
    number = service.create(draft).id
    blog.ask("POST", f"posts/{number}", {"content": "<p>theirs</p>"})
    blog.ask("POST", f"posts/{number}", {"status": "publish"})  # created and changed at one time, says its date
    assert not service.read(number, draft).untouched
    with pytest.raises(urllib.error.HTTPError):
        blog.ask("GET", "posts/999999999")
