"""The answer of a service, whose body is read up to a bound."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.integrations.service_errors import Unavailable
from app.support.messages import Message
from app.support.redaction import one_line, redact


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: `headers` with lower-case names, `url` the address that gave it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def text(self) -> str:
        """The body as text; bytes that are no UTF-8 are replaced."""
        return self.body.decode("utf-8", "replace")


def bounded(response: Any, most: int) -> bytes:
    """The decoded body. Raises Unavailable when it is larger than `most` bytes, without unpacking more than that, and
    zlib.error."""
    coding = response.headers.get("content-encoding", "").strip().lower() or "identity"
    if coding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise Unavailable(Message("The answer is packed as %(name)s, which was not asked for.",
                                  name=one_line(redact(coding), 40)), sent=True)
    unpack = None if coding == "identity" else zlib.decompressobj(47)  # gzip or zlib, by the first bytes
    parts, size = [], 0
    for chunk in response.iter_raw(64 * 1024):
        parts.append(unpack.decompress(chunk, most - size + 1) if unpack else chunk)
        size += len(parts[-1])
        if size > most:
            raise Unavailable(Message("The answer is larger than %(n)s MB.", n=f"{most / 2**20:g}"), sent=True)
    if parts and unpack and not unpack.eof:
        raise zlib.error("cut")
    return b"".join(parts)
