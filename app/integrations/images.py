"""Downloads an image that a content names, to hand it to a service.

    URL -> its own Outside, without a password: addresses checked, no private one -> redirects, each checked anew
        -> at most 20 MB with an image's content type, 64 MB for all images of a content

Each failure is an ItemRefused: the server of an image is not the service, whose outage holds all contents.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from app.integrations.answer import Answer
from app.integrations.outside import MOST_HOPS, Outside
from app.integrations.service_errors import ItemRefused, ServiceError
from app.integrations.site_urls import shown
from app.support.messages import Message, text_of

MOST_IMAGE, MOST_IMAGES = 20 << 20, 64 << 20
ENDINGS = {"image/jpeg": "jpg", "image/jpg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp",
           "image/avif": "avif", "image/bmp": "bmp", "image/tiff": "tif", "image/heic": "heic"}


class Image(NamedTuple):
    """The bytes of an image, its content type and the ending of its name."""

    content: bytes
    type: str
    ending: str


def download(url: str, private: bool) -> Image:
    """The image at an address. Raises ItemRefused with the address and the reason."""
    try:
        answer = _answer(url, private)
    except (ServiceError, ValueError) as error:
        raise _refused(url, Message("it cannot be downloaded. %(why)s", why=text_of(error))) from None
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if answer.status != 200:
        raise _refused(url, Message("its server answers with status %(status)s.", status=answer.status))
    if kind not in ENDINGS:
        raise _refused(url, Message("it is no JPEG, PNG, GIF, WebP or AVIF image, but %(kind)s.",
                                    kind=kind[:80] or "?"))
    if not answer.body:
        raise _refused(url, Message("it is empty."))
    return Image(answer.body, "image/jpeg" if kind == "image/jpg" else kind, ENDINGS[kind])


def download_all(urls: list[str], private: bool) -> list[tuple[str, Image]]:
    """The images at some addresses, each with its address. Raises ItemRefused."""
    found: list[tuple[str, Image]] = []
    for url in urls:
        found.append((url, download(url, private)))
        if sum(len(image.content) for _, image in found) > MOST_IMAGES:
            raise ItemRefused(Message("The images of the column image have more than %(n)s MB together.",
                                      n=MOST_IMAGES >> 20))
    return found


def _refused(url: str, why: str) -> ItemRefused:
    return ItemRefused(Message("Column image: %(url)s is not used: %(why)s", url=shown(url), why=why))


def _answer(url: str, private: bool) -> Answer:
    for _hop in range(MOST_HOPS):
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and private):
            raise ItemRefused(Message("Its address must begin with https://."))
        host = parts.netloc.rpartition("@")[2]
        with Outside(f"{parts.scheme}://{host}", private=private) as outside:
            answer = outside.request("GET", parts._replace(netloc=host, fragment="").geturl(), auth=False, follow=False,
                                     most_bytes=MOST_IMAGE, headers={"Accept": "image/*"})
        target = answer.headers.get("location")
        if answer.status not in (301, 302, 303, 307, 308) or not target:
            return answer
        url = urljoin(url, target)
    raise ItemRefused(Message("It is redirected in a circle."))
