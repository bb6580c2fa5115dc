"""Junk in each field of each form on each page: never an error of ours, never a page without a way back, what was typed is still there."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

from tests.both.test_pages import HTML, addresses, some

JUNK = ("1,2,3 <b>\"x'", "2026-99-99", "9" * 60)
NO_TEXT = ("hidden", "submit", "checkbox", "radio", "file", "button")


class Forms(HTMLParser):
    """The forms of a page: `found` has (method, action, {name: value}, names that a person types into)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, dict[str, str], set[str]]] = []
        self.open = False
        self.secret: set[str] = set()  # names of passwords, which no page repeats
        self.chosen: set[str] = set()  # names of selects: a person cannot type there, so the junk need not stand in them again
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        given = {k: v or "" for k, v in attrs}
        if tag == "form":
            self.open = True
            self.found.append((given.get("method", "get").lower(), given.get("action", ""), {}, set()))
        elif tag in ("input", "textarea", "select") and self.open and given.get("name"):
            _method, _action, values, typed = self.found[-1]
            if given.get("type") not in ("checkbox", "radio", "file"):
                values.setdefault(given["name"], given.get("value", ""))
            if given.get("type") not in NO_TEXT:
                typed.add(given["name"])
            if given.get("type") == "password":
                self.secret.add(given["name"])
            if tag == "select":
                self.chosen.add(given["name"])

    def handle_endtag(self, tag) -> None:
        self.open = self.open and tag != "form"


def test_junk_in_every_field_of_every_form(site):
    seen, wrong, tried, refused = set(), [], 0, 0
    for address in (one for rows in some(addresses(site), site, 9 if site.kind == "sqlite" else 2).values() for one in rows):
        if not address.startswith(("/admin/", "/account", "/api/docs")) or ".csv" in address or ".json" in address:
            continue
        answer = site.client.get(address, headers=HTML)
        if answer.status_code != 200 or answer.mimetype != "text/html":
            continue
        forms = Forms(answer.text)
        for method, action, values, typed in forms.found:
            action = html.unescape(action) or address
            kind = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+|(?<=queues/)\w+|(?<=types/)\w+", "#", action.partition("?")[0])
            for name in sorted(typed):
                if (method, kind, name) in seen:
                    continue
                seen.add((method, kind, name))
                for junk in JUNK if site.kind == "sqlite" else JUNK[2:]:  # a number that its columns do not hold
                    sent = values | {name: junk} | ({"csrf_token": site.client.csrf} if method == "post" else {})
                    send = site.client.post if method == "post" else site.client.get
                    got = send(action, headers=HTML, **({"data": sent} if method == "post" else {"query_string": sent}))
                    text, tried = html.unescape(got.get_data().decode("utf-8", "replace")), tried + 1
                    refused += got.status_code == 400
                    bad = got.status_code >= 500 or got.status_code == 400 and not (
                        (junk in text or name in forms.secret | forms.chosen | {"secret"}) and re.search('aria-invalid|role="alert"', text) and "<form" in text and 'href="/' in text)
                    if bad:
                        wrong.append((got.status_code, method, action, name, junk[:20], re.findall(r"<h1>(.*?)</h1>", text)))
    assert not wrong, "\n".join(map(str, wrong))
    assert tried > 80 and refused > 20, (tried, refused)
