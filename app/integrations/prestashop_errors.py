"""What an answer of PrestaShop means: its XML, or a ServiceError with a sentence.

PrestaShop says most errors as <errors><error><code/><message/>; a proxy, a firewall or a broken PHP answers in HTML.
The code decides where there is one (WebserviceRequest.php); the status decides else. Doubtful: PrestaShop may have done
what was asked, although its answer says nothing of use, so the caller looks.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from app.integrations.answer import Answer
from app.integrations.prestashop_xml import BadXml, Element, parse, text
from app.integrations.service_errors import (
    GATEWAY,
    ItemRefused,
    Limited,
    Refused,
    ServiceError,
    Unavailable,
    retry_after,
)
from app.integrations.site_urls import shown
from app.support.messages import Message
from app.support.redaction import one_line, redact

PHP = range(2, 16)  # codes of PHP's own warnings and notices, which PrestaShop answers with 500 after the work is done
OF_ITEM = {"46", "84", "85", "86", "87", "89", "90", "91", "92", "93", "123", "127", "133", "134"}
MAINTENANCE_S, SLOWER_S = 60.0, 30.0
_TAG = re.compile(r"<[^<>]{0,2000}>")
_NOT_WRITABLE = re.compile(r'(?:parameter "(\w+)" not writable|Parameter "(\w+)" can\'t be set'
                           r'|association "(\w+)" does not exists)', re.I)


class Missing(ItemRefused):
    """There is no such resource."""


class Doubtful(Unavailable):
    """The request may have been carried out."""


class NotWritable(ItemRefused):
    """The shop refuses a field, `field`; without it the same request may do."""

    def __init__(self, text: str, field: str) -> None:
        super().__init__(text)
        self.field = field


def judged(answer: Answer, method: str, resource: str, hide: Collection[str] = (), empty: bool = False) -> Element:
    """The <prestashop> of an answer; with `empty` a success may have none (an empty element then). `resource` is what
    was asked for, like products/5; `hide` are words that no sentence may contain. Raises ServiceError."""
    sent, status, host = method != "GET", answer.status, urlsplit(answer.url).hostname or ""
    root, why = None, ""
    try:
        root = parse(answer.body)
    except BadXml as error:
        why = error.args[0]
    children = list(root) if root is not None else []
    errors = [(text(error, "code"), text(error, "message"))
              for child in children if child.tag == "errors" for error in child]
    useful = any(child.tag != "errors" for child in children)
    if errors and not useful:
        raise _told(answer, method, resource, errors, hide)
    if root is not None and (status < 300 or status == 500 and useful):
        return root
    if status < 300:
        if empty and not answer.body.strip():
            return Element("prestashop")
        kind = Doubtful if sent else Unavailable
        if why:
            raise kind(Message("The answer of %(host)s cannot be read. %(why)s", host=host, why=why), sent)
        raise kind(Message("%(host)s answers with something else than the XML of PrestaShop: %(text)s", host=host,
                           text=_words(answer.body, hide)), sent)
    raise _by_status(answer, method, resource, host, hide)


def said(message: str, hide: Collection[str] = (), most: int = 300) -> str:
    """A text of the shop for people: one line without tags, secrets and the words of `hide`."""
    plain = html.unescape(_TAG.sub(" ", message[:20_000]))
    for word in hide:
        plain = plain.replace(word, "[hidden]")
    return one_line(redact(" ".join(plain.split())), most)


def secret_forms(key: str) -> list[str]:
    """The key as an answer could repeat it: bare, and as the basic auth that was sent."""
    return [key, base64.b64encode(f"{key}:".encode()).decode()] if key else []


def _words(body: bytes, hide: Collection[str]) -> str:
    title = re.search(rb"<title[^<>]{0,200}>([^<]{1,200})", body[:100_000], re.I)
    words = said((title[1] if title else body[:2000]).decode("utf-8", "replace"), hide, 120)
    return words or Message("(nothing)")


def _told(answer: Answer, method: str, resource: str, errors: list[tuple[str, str]],
          hide: Collection[str]) -> ServiceError:
    """The error for what the shop says in XML."""
    code, status, sent = errors[0][0], answer.status, method != "GET"
    message = said("; ".join(dict.fromkeys(words for _, words in errors[:5])), hide) or Message("(nothing)")
    if code == "22":
        return Refused(Message("The webservice of the shop is switched off. Switch it on in its back office: Advanced "
                               "Parameters, Webservice."))
    if code in ("16", "17"):
        return Refused(Message(
            "The shop says that no key came, though one was sent: the web server drops the Authorization header. Let "
            "it through (Apache with CGI: SetEnvIf Authorization \"(.*)\" HTTP_AUTHORIZATION=$1)."))
    if code in ("25", "26", "101") or status in (403, 405):
        return Refused(Message(
            "The key lacks the right %(method)s on %(resource)s (%(why)s). Tick it in the back office: Advanced "
            "Parameters, Webservice.", method=method, resource=resource.split("/")[0] or "api", why=message))
    if status == 401:
        return Refused(Message("The shop does not accept the key (%(why)s). Enter a key that is active there.",
                               why=message))
    if status in (413, 429, 503):
        return _by_status(answer, method, resource, urlsplit(answer.url).hostname or "", hide)
    if status == 404 and code != "999":
        return Missing(Message("The shop has no %(resource)s (%(why)s).", resource=resource, why=message))
    if code in ("27", "999"):
        return Refused(Message("The shop refuses the request (%(why)s). Check the address and the options of the "
                               "connection.", why=message))
    if all(code.isdigit() and int(code) in PHP for code, _ in errors):
        return Doubtful(Message("The shop answers with an error of its own PHP: %(why)s", why=message), sent)
    if field := next((found for _, words in errors if (found := _NOT_WRITABLE.search(words))), None):
        return NotWritable(Message("The shop refuses: %(why)s", why=message), next(filter(None, field.groups())))
    if status < 500 or code in OF_ITEM:
        return ItemRefused(Message("The shop refuses: %(why)s", why=message))
    return Doubtful(Message("The shop answers with an error: %(why)s", why=message), sent)


def _by_status(answer: Answer, method: str, resource: str, host: str, hide: Collection[str]) -> ServiceError:
    """The error for an answer without the shop's own words."""
    status, sent = answer.status, method != "GET"
    page = _words(answer.body, hide)
    if status == 401:
        return Refused(Message(
            "The web server of %(host)s asks for a password of its own, before PrestaShop. The key uses the same "
            "header, so the folder /api must be free of that password.", host=host))
    if status == 404:
        if resource and not answer.body.strip():
            return Missing(Message("The shop has no %(resource)s.", resource=resource))
        return Refused(Message("There is no webservice of PrestaShop at %(url)s. Check the address, and that the "
                               "webservice is switched on in the back office.", url=shown(answer.url)))
    if status == 413:
        return ItemRefused(Message("The web server of %(host)s takes no request of this size: make the image or the "
                                   "text smaller.", host=host))
    if status == 429:
        delay = retry_after(answer.headers, SLOWER_S)
        return Limited(Message("%(host)s asks to wait %(n)s s.", host=host, n=round(delay)), delay)
    if status == 503:
        delay = retry_after(answer.headers, MAINTENANCE_S)
        return Limited(Message("The shop is in maintenance or overloaded: %(text)s", text=page), delay)
    if status in (403, 405, 406):
        return Refused(Message("The web server of %(host)s refuses %(method)s on %(resource)s (%(status)s: %(text)s). "
                               "A firewall or a rule of it must let the webservice through.", host=host, method=method,
                               resource=resource or "api", status=status, text=page))
    if status >= 500:
        error = Doubtful(Message("%(host)s answers with error %(status)s: %(text)s", host=host, status=status,
                                 text=page), sent)
        error.unanswered = sent and status in GATEWAY
        return error
    return Refused(Message("%(host)s answers %(method)s %(resource)s with %(status)s: %(text)s", host=host,
                           method=method, resource=resource, status=status, text=page))

