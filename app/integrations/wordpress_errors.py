"""What WordPress answers: as data, or as the error that says what happened and who can do something.

    answer -> JSON, also between notices of PHP -> the value asked for
           -> else a ServiceError: by the code of WordPress, by the status, or by the page that a server in front sent

* A person must act for the whole connection: Refused. For one content: ItemRefused. Nobody: Unavailable, Limited.
* A write whose answer is lost or unreadable may have been done: `sent` is True.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from app.integrations.answer import Answer
from app.integrations.service_errors import GATEWAY, ItemRefused, Refused, ServiceError, Unavailable
from app.integrations.site_urls import shown
from app.integrations.wordpress_answers import SAID_CHARS, answer_start, clean, limited, parsed, said_in, whole
from app.integrations.wordpress_codes import CODES, WHAT
from app.support.messages import Message


class Missing(ItemRefused):
    """There is no item of this id."""


class Exists(ItemRefused):
    """A term of this name exists: its `id`."""

    def __init__(self, text: str, id: int) -> None:
        super().__init__(text)
        self.id = id


def data(answer: Answer, kind: type, what: str = "", write: bool = False) -> Any:
    """The object (dict) or list of a 2xx answer. Raises ServiceError; `what` was asked for: post, term, image or ""."""
    found = parsed(answer)
    refused = isinstance(found, dict) and "code" in found and "message" in found and "id" not in found
    if 200 <= answer.status < 300 and isinstance(found, kind) and not refused:
        return found
    raise failure(answer, what, write)


def odd(write: bool) -> ServiceError:
    """The error for JSON of another form than WordPress gives."""
    return Unavailable(Message("WordPress answered in a form that this program does not know. A plugin may change its "
                               "answers."), write)


def failure(answer: Answer, what: str, write: bool) -> ServiceError:
    """The error that an answer stands for."""
    found = parsed(answer)
    found = found if isinstance(found, dict) else {}
    code, inner = clean(found.get("code")), found.get("data")
    inner = inner if isinstance(inner, dict) else {}
    status = answer.status
    if 200 <= status < 300 and code:  # a notice of PHP went out before the status
        status = whole(inner.get("status")) or 500
    said = said_in(found.get("message"))
    if limit := limited(answer, status, write):
        return limit
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
                                       "names the rule.", what=WHAT[what], status=status), True)
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
    error = Unavailable(Message("WordPress, or the server in front of it, has an error (%(status)s): %(said)s",
                                status=status, said=said or answer_start(answer)), write)
    error.unanswered = write and status in GATEWAY
    return error


def _by_code(code: str, status: int, said: str, inner: dict, what: str, write: bool) -> ServiceError | None:
    """The error of a code that needs a sentence of its own."""
    if code in ("rest_invalid_param", "rest_missing_callback_param"):
        params = inner.get("params")
        names = params if isinstance(params, dict) else dict.fromkeys(params, "") if isinstance(params, list) and all(
            isinstance(one, str) for one in params) else {}
        parts = "; ".join(f"{clean(name)}: {said_in(why)}" for name, why in islice(names.items(), 10)) or said
        return ItemRefused(Message("WordPress does not take these values: %(params)s", params=parts[:SAID_CHARS]))
    if what == "image" and (code.startswith("rest_upload") or code in ("rest_cannot_create", "db_insert_error")):
        return ItemRefused(Message("WordPress does not take the image: %(said)s", said=said), write)
    if what == "term" and status in (401, 403) and code == "rest_cannot_create":
        return ItemRefused(Message("The user of this connection may not make new categories or tags. Make them in "
                                   "WordPress, or give it the role Editor."))
    if code in ("db_insert_error", "db_update_error", "empty_term_name"):  # about this text: without a database a page
        return ItemRefused(Message("WordPress cannot store it: %(said)s", said=said), write)
    if code in CODES:
        kind, text = CODES[code]
        # WordPress checks rights before it writes, but not the right to a meta field
        return kind(text, write and code == "rest_cannot_update")
    return None
