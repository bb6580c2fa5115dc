"""What WordPress answers: as data, or as the error that says what happened and who can do something.

    answer -> JSON, also between notices of PHP -> the value asked for
           -> else a ServiceError: by the code of WordPress, by the status, or by the page that a server in front sent

* A person must act for the whole connection: Refused. For one content: ItemRefused. Nobody: Unavailable, Limited.
* A write whose answer is lost or unreadable may have been done: `sent` is True.
"""

from __future__ import annotations

import html
import json
import re
from itertools import islice
from typing import Any

from app.integrations.outside import (
    Answer,
    ItemRefused,
    Limited,
    Refused,
    ServiceError,
    Unavailable,
    retry_after,
    shown,
)
from app.support.messages import Message
from app.support.redaction import encodable, one_line, redact

MOST_TRIES, MAINTENANCE_S, LIMITED_S, SAID_CHARS = 50, 60.0, 60.0, 300
_START = re.compile(r'(?:\A|(?<=[>\n]))[ \t]*(\{\s*"|\[\s*[\]{])')  # after a page or a line, not inside of other JSON
_TAG = re.compile(r"<[^<>]*>")
_USER = Message("WordPress does not know this user, or the application password is wrong or was revoked. Make a new "
                "one in WordPress (Users, Profile, Application Passwords) and enter it in the connection.")
_NO_LOGIN = Message(
    "WordPress did not accept the application password: it is wrong, application passwords are switched off there "
    "(they need https), or the web server does not hand on the header Authorization.")
_OFF = Message("Application passwords are switched off on this site. Have them switched on, also in security plugins.")
_NO_REST = Message("The REST API of WordPress is switched off or limited, often by a security plugin. Allow it for the "
                   "user of this connection.")
_CODES: dict[str, tuple[type[ServiceError], Message]] = {
    "incorrect_password": (Refused, _USER),
    "invalid_username": (Refused, _USER),
    "invalid_email": (Refused, _USER),
    "invalid_application_password": (Refused, _USER),
    "rest_not_logged_in": (Refused, _NO_LOGIN),
    "application_passwords_disabled": (Refused, _OFF),
    "application_passwords_disabled_for_user": (Refused, _OFF),
    "rest_no_route": (Refused, _NO_REST),
    "rest_disabled": (Refused, _NO_REST),
    "rest_forbidden": (Refused, _NO_REST),
    "rest_cannot_create": (Refused, Message("The user of this connection may not create this. Give it the role Author "
                                            "or Editor in WordPress.")),
    "rest_cannot_publish": (Refused, Message("The user of this connection may not publish. Give it the role Author or "
                                             "Editor in WordPress, or send drafts.")),
    "rest_cannot_edit": (ItemRefused, Message("The user of this connection may not edit this post, which belongs to "
                                              "somebody else. Give it the role Editor in WordPress.")),
    "rest_forbidden_context": (ItemRefused, Message("The user of this connection may not edit this post.")),
    "rest_cannot_assign_term": (ItemRefused, Message("The user may not assign these categories or tags.")),
    "rest_cannot_update": (ItemRefused, Message("The user may not write the field ainstein_key of posts.")),
    "empty_content": (ItemRefused, Message("Title, body and excerpt are empty.")),
}


class Missing(ItemRefused):
    """There is no item of this id."""


class Exists(ItemRefused):
    """A term of this name exists: its `id`."""

    def __init__(self, text: str, id: int) -> None:
        super().__init__(text)
        self.id = id


def whole(value: Any) -> int | None:
    """A number from 1 on that JSON gives as number or as text; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**18 else None


def clean(value: Any) -> str:
    """A text of an answer as every database can store it; "" for anything else."""
    return encodable(value.replace("\0", "")) if isinstance(value, str) else ""


def data(answer: Answer, kind: type, what: str = "", write: bool = False) -> Any:
    """The object (dict) or list of a 2xx answer. Raises ServiceError; `what` was asked for: post, term, image or ""."""
    found = _json(answer)
    refused = isinstance(found, dict) and "code" in found and "message" in found and "id" not in found
    if 200 <= answer.status < 300 and isinstance(found, kind) and not refused:
        return found
    raise failure(answer, what, write)


def odd(write: bool) -> ServiceError:
    """The error for JSON of another form than WordPress gives."""
    return Unavailable(Message("WordPress answered in a form that this program does not know. A plugin may change its "
                               "answers."), write)


def _json(answer: Answer) -> Any:
    """The JSON value of a body, also behind a mark of byte order and between pages of errors; None without one."""
    try:
        text = answer.body.decode("utf-8-sig").strip()
        return json.loads(text)
    except UnicodeDecodeError:
        return None
    except (ValueError, RecursionError):
        pass
    for match in islice(_START.finditer(text), MOST_TRIES):
        try:
            value, end = json.JSONDecoder().raw_decode(text, match.start(1))
        except (ValueError, RecursionError):
            continue
        if value or text[end:end + 99].lstrip()[:1] in ("", "<"):  # else the [] of a notice
            return value
    return None


def failure(answer: Answer, what: str, write: bool) -> ServiceError:
    """The error that an answer stands for."""
    found = _json(answer)
    found = found if isinstance(found, dict) else {}
    code, inner = clean(found.get("code")), found.get("data")
    inner = inner if isinstance(inner, dict) else {}
    status = answer.status
    if 200 <= status < 300 and code:  # a notice of PHP went out before the status
        status = whole(inner.get("status")) or 500
    said = _said(found.get("message"))
    if status == 429:
        return Limited(Message("WordPress, or a server in front of it, asks for fewer requests (429)."),
                       retry_after(answer.headers, LIMITED_S), write)
    if status == 503 and ("retry-after" in answer.headers or b"aintenance" in answer.body[:20_000]):
        return Limited(Message("WordPress is in maintenance."), retry_after(answer.headers, MAINTENANCE_S), write)
    if code == "term_exists" and (number := whole(inner.get("term_id"))):
        return Exists(said, number)
    if code.endswith("_invalid_id") and status in (404, 410) or status == 410:
        return Missing(Message("It is no longer there."))
    if known := _by_code(code, status, said, inner, what, write):
        return known
    if status == 413:
        image = Message("The image is larger than the web server takes (413).")
        return ItemRefused(image if what == "image" else Message(
            "The text is larger than the web server takes (413). Its limit is client_max_body_size or post_max_size."))
    if status == 401:
        return Refused(Message(
            "The web server itself asks for a password (401), before WordPress sees the request. Application passwords "
            "use the same header: have the server leave out the address of the REST API.") if not code else Message(
            "WordPress refuses the password (401): %(said)s", said=said or code))
    if status in (403, 405, 406, 451) and not code:
        if write and what:
            return ItemRefused(Message("A firewall in front of WordPress refuses this %(what)s (%(status)s). Its log "
                                       "names the rule.", what=_WHAT[what], status=status), True)
        return Refused(Message("A firewall in front of WordPress refuses the request (%(status)s). Have it allow this "
                               "server and the address of the REST API.", status=status))
    if status in (401, 403):
        return Refused(Message("WordPress refuses this (%(status)s): %(said)s", status=status, said=said or code))
    if status == 404 and not code:
        return Refused(Message("There is no REST API of WordPress at %(url)s.", url=shown(answer.url)))
    if 400 <= status < 500 and status not in (408, 425):
        return ItemRefused(Message("WordPress does not take it (%(status)s): %(said)s", status=status,
                                   said=said or code or answer_start(answer)), write)
    if 200 <= status < 300:
        return Unavailable(Message("WordPress answered with nothing.") if not answer.body.strip() else Message(
            "WordPress answered with a page or with broken data (%(start)s).", start=answer_start(answer)), write)
    return Unavailable(Message("WordPress, or the server in front of it, has an error (%(status)s): %(said)s",
                               status=status, said=said or answer_start(answer)), write)


_WHAT = {"post": Message("text"), "term": Message("category or tag"), "image": Message("image")}


def _by_code(code: str, status: int, said: str, inner: dict, what: str, write: bool) -> ServiceError | None:
    """The error of a code that needs a sentence of its own."""
    if code in ("rest_invalid_param", "rest_missing_callback_param"):
        params = inner.get("params")
        names = params if isinstance(params, dict) else dict.fromkeys(params, "") if isinstance(params, list) and all(
            isinstance(one, str) for one in params) else {}
        parts = "; ".join(f"{clean(name)}: {_said(why)}" for name, why in islice(names.items(), 10)) or said
        return ItemRefused(Message("WordPress does not take these values: %(params)s", params=parts[:SAID_CHARS]))
    if what == "image" and (code.startswith("rest_upload") or code in ("rest_cannot_create", "db_insert_error")):
        return ItemRefused(Message("WordPress does not take the image: %(said)s", said=said), write)
    if what == "term" and status in (401, 403) and code == "rest_cannot_create":
        return ItemRefused(Message("The user of this connection may not make new categories or tags. Make them in "
                                   "WordPress, or give it the role Editor."))
    if code in ("db_insert_error", "db_update_error", "empty_term_name"):  # about this text: without a database a page
        return ItemRefused(Message("WordPress cannot store it: %(said)s", said=said), write)
    if code in _CODES:
        kind, text = _CODES[code]
        # WordPress checks rights before it writes, but not the right to a meta field
        return kind(text, write and code == "rest_cannot_update")
    return None


def _said(message: Any) -> str:
    """A message of WordPress as one line without tags and secrets."""
    text = html.unescape(_TAG.sub(" ", clean(message)[:5000]))
    return one_line(redact(" ".join(text.split())), SAID_CHARS)


def answer_start(answer: Answer) -> str:
    """How an answer begins, for people."""
    return _said(answer.text[:2000])[:120]
