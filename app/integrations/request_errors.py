"""What the exceptions of the HTTP client mean: each becomes a ServiceError, the usual ones in words."""

from __future__ import annotations

import errno

from app.integrations.service_errors import ItemRefused, Refused, ServiceError, Unavailable
from app.support.messages import Message
from app.support.redaction import one_line, redact

_CLOSED, _NO_WAY = Message("it closes the connection"), Message("the network knows no way to it")
_WORDS = {
    errno.ECONNREFUSED: Message("nothing answers at this port"), errno.ETIMEDOUT: Message("it does not answer"),
    errno.ECONNRESET: _CLOSED, errno.ECONNABORTED: _CLOSED, errno.EPIPE: _CLOSED,
    errno.EHOSTUNREACH: _NO_WAY, errno.ENETUNREACH: _NO_WAY, errno.ENETDOWN: _NO_WAY, errno.EHOSTDOWN: _NO_WAY}


def words(error: BaseException, otherwise: str) -> str:
    """Why a connection broke or did not come about, by the error of the system behind it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return _WORDS[errno.ETIMEDOUT]
        if isinstance(cause, OSError) and cause.errno in _WORDS:
            return _WORDS[cause.errno]
        cause = cause.__cause__ or cause.__context__  # the client suppresses it
    return otherwise


def judged(error: Exception, host: str, sent: bool, read_s: float) -> ServiceError | None:
    """The error to raise; None when the connection broke off. `sent`: the request may have arrived; `read_s`: how long
    an answer may be silent."""
    import httpx2

    if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout)):
        why = one_line(redact(str(error)), 200)
        if "certificate" in why.lower():
            return Refused(Message("The certificate of %(host)s is not valid (%(why)s).", host=host, why=why))
        return Unavailable(Message("%(host)s cannot be reached (%(why)s).", host=host, why=words(error, why)))
    if isinstance(error, httpx2.TimeoutException):
        return Unavailable(Message("%(host)s did not answer within %(n)s s.", host=host, n=f"{read_s:g}"), sent)
    if isinstance(error, (httpx2.LocalProtocolError, httpx2.InvalidURL, httpx2.UnsupportedProtocol, ValueError,
                          TypeError)):
        return ItemRefused(Message("The request cannot be sent (%(why)s).", why=type(error).__name__))
    return None


def broke_off(error: Exception, host: str, sent: bool) -> Unavailable:
    """The error of a connection that broke off."""
    return Unavailable(Message("The connection to %(host)s broke off (%(why)s).", host=host,
                               why=words(error, type(error).__name__)), sent)
