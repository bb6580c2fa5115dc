"""Reads an answer, which may have been paid: bad data from the server raises no error and loses no readable text.

bytes -> lines -> events (server-sent events, lines of JSON, or one JSON body) -> `Answer`
* The two halves of a character that come in two events are joined.
* What no database can store (lone surrogates, NUL, bytes that are not UTF-8) becomes U+FFFD.
* An event that cannot be read is left out, and `Answer.broken` names it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from app.support.messages import Message, text_of

MOST_CHARS = 2 * 2**20  # of text; an article has about ten thousand
MOST_BYTES, MOST_LINE = 64 * 2**20, 8 * 2**20  # bytes of the whole stream, of one line
MOST_TOKENS = 10**9
PROGRESS_S = 0.1  # between two calls of `grows`
_REST = "\ufffd"
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_OPEN = re.compile(  # at the end: the first surrogate of a pair, or the first bytes of a character
    "(?:[\ud800-\udbff]|[\udcc2-\udcdf]|[\udce0-\udcef][\udc80-\udcbf]?|[\udcf0-\udcf4][\udc80-\udcbf]{0,2})\\Z"
)
_ENDS = {  # other servers' names for OpenAI's values of finish_reason
    "max_tokens": "length", "max_output_tokens": "length", "safety": "content_filter", "blocked": "content_filter",
    "end_turn": "stop", "stop_sequence": "stop", "eos": "stop", "eos_token": "stop", "completed": "stop",
}
_BROKEN_ENDS = ("error", "abort", "aborted", "cancelled", "canceled", "failed", "timeout")


@dataclass
class Answer:
    """What came of an answer. `finish` is OpenAI's finish_reason (stop, length ...), None when the stream ended early;
    the counts of tokens are None when the server gave none."""

    text: str = ""
    finish: str | None = None
    refusal: str = ""
    model: str = ""
    id: str = ""
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_out: int | None = None
    broken: str = ""  # why the answer is incomplete; "" when it is not
    begun: bool = False  # some output of the model came, so it may be paid


class Reported(Exception):
    """The server reported an error before any output of the model."""

    def __init__(self, error: Any) -> None:
        super().__init__("error event")
        self.error = error


class Joined:
    """Joins text from pieces; a piece may end inside a character. `size` counts characters."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.size, self._held = 0, ""

    def add(self, piece: str) -> None:
        """Append a piece; an incomplete character at its end waits for the next piece."""
        text = _paired(self._held + piece)
        tail = _OPEN.search(text)
        self._held = tail[0] if tail else ""
        self._keep(text[: len(text) - len(self._held)])

    def end(self) -> str:
        """The whole text; an incomplete character at its end becomes U+FFFD."""
        self._keep(self._held)
        self._held = ""
        return self.text()

    def text(self) -> str:
        """The text so far, without an incomplete character at its end."""
        self.pieces = ["".join(self.pieces)]
        return self.pieces[0]

    def _keep(self, text: str) -> None:
        self.pieces.append(clean(text))
        self.size += len(text)


def clean(text: str) -> str:
    """Text that every database can store: surrogate pairs joined, escaped bytes read as UTF-8, the rest U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    raw = _LONE.sub(_REST, _paired(text)).encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "replace").replace("\0", _REST)


def _paired(text: str) -> str:
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def read(chunks: Iterable[bytes], whole: bool, answer: Answer, grows: Callable[[str], bool]) -> None:
    """Fill `answer` from the bytes of a body. `whole` means that the body is one JSON value, not a stream. `grows` gets
    the text so far at most every 0.1 s and returns False to stop. Raises Reported and the errors of `chunks`; `answer`
    then has what came before."""
    text, refusal = Joined(), Joined()
    next_call = 0.0
    try:
        for kind, data in events(chunks) if not whole else _body(chunks):
            if data.startswith(b"[DONE]"):
                answer.finish = answer.finish or ("stop" if text.size and not answer.broken else None)
                return
            for value in _values(data, answer):
                _take(value, answer, text, refusal)
                error = error_in(value, kind == "error")
                if error is not None:
                    if not answer.begun:
                        raise Reported(error)
                    answer.broken = _short(error)
                    return
            if text.size + refusal.size > MOST_CHARS:
                answer.broken = Message("longer than %(n)s characters", n=MOST_CHARS)
                return
            if time.monotonic() >= next_call:
                next_call = time.monotonic() + PROGRESS_S
                if not grows(text.text()):
                    answer.broken = "stopped"
                    return
    except TooMuch as error:
        answer.broken = text_of(error)
    finally:
        answer.text, answer.refusal = text.end(), refusal.end()
        answer.broken = answer.broken or (f"finish_reason {answer.finish}" if answer.finish in _BROKEN_ENDS else "")


class TooMuch(Exception):
    """The server sent more bytes than an answer can have."""


def events(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """(kind, data) of each event. Lines are split as bytes, because U+2028 in a text does not end a line. Raises
    TooMuch."""
    kind, data = "", []
    for line in _lines(chunks):
        name, _, value = line.partition(b":")
        if not line.strip():
            if data:
                yield kind, b"\n".join(data)
            kind, data = "", []
        elif line.lstrip()[:1] in (b"{", b"["):
            yield kind, line  # JSON without `data:`
        elif name == b"data":
            data.append(value.removeprefix(b" "))
        elif name == b"event":
            kind = value.strip().decode("ascii", "replace")
        elif name == b"error":
            yield "error", value.strip()
    if data:
        yield kind, b"\n".join(data)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest: list[bytes] = []
    held = total = 0
    for chunk in chunks:
        if not total:
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")  # a byte order mark
        rest.append(chunk)
        total, held = total + len(chunk), held + len(chunk)
        if b"\n" in chunk or b"\r" in chunk:
            *lines, last = re.split(b"\r\n|\n|\r(?=[^\n])", b"".join(rest))  # a CR at the very end may be half of CR LF
            yield from lines
            rest, held = [last], len(last)
        if total > MOST_BYTES or held > MOST_LINE:
            raise TooMuch(Message("longer than %(n)s bytes", n=MOST_BYTES if total > MOST_BYTES else MOST_LINE))
    yield from b"".join(rest).splitlines()


def _body(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """The events of a body whose type is JSON: one value, or a stream in spite of its type."""
    body = b"\n".join(_lines(chunks))
    if parsed(body) is not None:
        yield "", body
    else:
        yield from events([body + b"\n\n"])


def _values(data: bytes, answer: Answer) -> Iterator[Any]:
    """The JSON values of an event: one; or one a line, from a server without empty lines between events."""
    value = parsed(data)
    if value is not None:
        yield value
        return
    for line in data.split(b"\n"):
        value = parsed(line)
        if value is not None:
            yield value
        elif line.lstrip()[:1] in (b"{", b"["):
            answer.broken = answer.broken or Message("an event that cannot be read")


def parsed(data: bytes) -> Any:
    """The JSON value of the bytes, also in damaged UTF-8; None when they are not JSON."""
    for errors in ("strict", "surrogatepass", "surrogateescape"):
        try:
            text = data.decode("utf-8", errors)
            return json.loads(text, parse_int=lambda n: int(n) if len(n) < 20 else float(n), strict=False)
        except UnicodeDecodeError:
            continue
        except (ValueError, RecursionError):
            return None
    return None


def error_in(value: Any, named: bool = False) -> Any:
    """The error that a JSON value is or contains, else None; `named` means that the server marked it as an error."""
    if isinstance(value, list):
        value = next((v for v in value if isinstance(v, dict)), value)
    if not isinstance(value, dict):
        return value if named and value else None
    inner = value.get("error")
    if not inner and isinstance(choices := value.get("choices"), list):  # as some relays send it
        inner = next((c["error"] for c in choices if isinstance(c, dict) and c.get("error")), None)
    if isinstance(inner, dict) and inner:
        return value | {name: v for name, v in inner.items() if v is not None}
    if inner or named or "error" in (value.get("object"), value.get("type")):
        return value
    message = value.get("message")
    reported = value.get("detail") or value.get("errors") or (isinstance(message, str) and message)
    return value if reported and "choices" not in value else None


def _take(value: Any, answer: Answer, text: Joined, refusal: Joined) -> None:
    """Add one event to the answer; fields that are missing or of another type are left out."""
    if not isinstance(value, dict):
        return
    for name, limit in (("model", 100), ("id", 200)):
        if isinstance(value.get(name), str) and value[name]:
            setattr(answer, name, clean(value[name])[:limit])
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else [choices]:
        if not isinstance(choice, dict):
            continue
        part = next((choice[name] for name in ("delta", "message") if choice.get(name) is not None), None)
        part = part if isinstance(part, dict) else {"content": part if part is not None else choice.get("text")}
        content, refused = _text(part.get("content")), _text(part.get("refusal"))
        text.add(content)
        refusal.add(refused)
        thought = any(part.get(name) for name in ("reasoning_content", "reasoning", "tool_calls", "function_call"))
        answer.begun = answer.begun or bool(content or refused or thought)
        if finish := choice.get("finish_reason"):
            finish = clean(str(finish))[:40]
            answer.finish = _ENDS.get(finish.lower(), finish)
    if isinstance(usage := value.get("usage"), dict):
        _count(answer, usage, bool(text.text().strip()))


def _text(value: Any, depth: int = 0) -> str:
    """The text of a `content`: a string, or a list of parts with texts."""
    if isinstance(value, dict):
        value = [value.get("text")] if value.get("type", "text") in ("text", "output_text") else []
    if isinstance(value, list):
        return "".join(_text(part, depth + 1) for part in value) if depth < 20 else ""
    return "" if value is None or isinstance(value, bool) else str(value)


def _count(answer: Answer, usage: dict[str, Any], written: bool) -> None:
    """Take over the counts of tokens if all make sense. No count, or 0 for a text, means unknown, never free."""
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    given = (usage.get("prompt_tokens"), 0 if cached is None else cached, usage.get("completion_tokens"))
    counts = [_number(n) for n in given]
    if None in counts or not counts[0] or counts[1] > counts[0] or (written and not counts[2]):
        return
    answer.tokens_in, answer.tokens_cached, answer.tokens_out = counts
    answer.begun = answer.begun or bool(counts[2])


def _number(value: Any) -> int | None:
    """A count of tokens from a whole number, also as text or float; None for anything else or more than 10^9."""
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,10}(\.0{0,10})?", str(value), re.ASCII):
        return None
    number = int(float(str(value)))
    return number if number <= MOST_TOKENS else None


def _short(error: Any) -> str:
    reason = error.get("message") or error.get("error") or error.get("detail") if isinstance(error, dict) else error
    return Message("error: %(why)s", why=clean(str(reason)[:190]))
