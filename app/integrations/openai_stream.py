"""Reading an answer that may have been paid: nothing that a server sends raises, and no text is lost to its encoding.

bytes -> lines -> events (SSE; lines of JSON and a body that is not streamed are taken as well) -> `Answer`
Halves of a character that come in two events are joined; what no database holds (lone halves, NUL, bytes that are no
UTF-8) becomes U+FFFD; an event that cannot be read leaves a hole, which is said.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from app.support.messages import Message, text_of

MOST_CHARS = 2 * 2**20  # of text; an article has some ten thousand
MOST_BYTES, MOST_LINE = 64 * 2**20, 8 * 2**20  # of the whole stream, of one line
MOST_TOKENS = 10**9
LOOK_S = 0.1  # between two looks of whoever waits at what has come
_REST = "\ufffd"
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_OPEN = re.compile(  # the first half of a pair, or the first bytes of a character, at the end
    "(?:[\ud800-\udbff]|[\udcc2-\udcdf]|[\udce0-\udcef][\udc80-\udcbf]?|[\udcf0-\udcf4][\udc80-\udcbf]{0,2})\\Z"
)
_ENDS = {  # what servers like OpenAI's call the same ends
    "max_tokens": "length", "max_output_tokens": "length", "safety": "content_filter", "blocked": "content_filter", "end_turn": "stop",
    "stop_sequence": "stop", "eos": "stop", "eos_token": "stop", "completed": "stop",
}
_BROKEN_ENDS = ("error", "abort", "aborted", "cancelled", "canceled", "failed", "timeout")


@dataclass
class Answer:
    """`finish` is stop, length ... or None when the stream ended early; tokens are None when not told."""

    text: str = ""
    finish: str | None = None
    refusal: str = ""
    model: str = ""
    id: str = ""
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_out: int | None = None
    broken: str = ""  # what broke the answer off
    begun: bool = False  # something came that the model has written, and that may so be paid


class Reported(Exception):
    """The server reported an error before anything of the model had come."""

    def __init__(self, error: Any) -> None:
        super().__init__("error event")
        self.error = error


class Joined:
    """Text that comes in pieces, of which each may end within a character."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.size, self._held = 0, ""

    def add(self, piece: str) -> None:
        text = _paired(self._held + piece)
        tail = _OPEN.search(text)
        self._held = tail[0] if tail else ""
        self._keep(text[: len(text) - len(self._held)])

    def end(self) -> str:
        self._keep(self._held)
        self._held = ""
        return self.text()

    def text(self) -> str:
        """What is whole so far."""
        self.pieces = ["".join(self.pieces)]
        return self.pieces[0]

    def _keep(self, text: str) -> None:
        self.pieces.append(clean(text))
        self.size += len(text)


def clean(text: str) -> str:
    """Text that every database holds: pairs joined, escaped bytes read as UTF-8, what is no character U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    raw = _LONE.sub(_REST, _paired(text)).encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "replace").replace("\0", _REST)


def _paired(text: str) -> str:
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def read(chunks: Iterable[bytes], whole: bool, answer: Answer, grows: Callable[[str], bool]) -> None:
    """Fill `answer` from the bytes of a body; `whole`: it is one JSON value, not a stream. `grows` gets the text so far
    every 0.1 s and returns False to stop. Raises Reported, and what reading the bytes raises; `answer` then holds what
    had come."""
    text, refusal = Joined(), Joined()
    look = 0.0
    try:
        for kind, data in events(chunks) if not whole else _body(chunks):
            if data.startswith(b"[DONE]"):
                answer.finish = answer.finish or ("stop" if text.size and not answer.broken else None)  # said to be all
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
            if time.monotonic() >= look:
                look = time.monotonic() + LOOK_S
                if not grows(text.text()):
                    answer.broken = "stopped"
                    return
    except TooMuch as error:
        answer.broken = text_of(error)
    finally:
        answer.text, answer.refusal = text.end(), refusal.end()
        answer.broken = answer.broken or (f"finish_reason {answer.finish}" if answer.finish in _BROKEN_ENDS else "")


class TooMuch(Exception):
    """More came than an answer can be."""


def events(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Kind and data of each event. Lines are split as bytes: U+2028 in a text is no end of a line."""
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
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")  # a mark at the beginning is no part of the first event's name
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
    """A body said to be JSON: one value, or lines of them all the same."""
    body = b"\n".join(_lines(chunks))
    if parsed(body) is not None:
        yield "", body
    else:
        yield from events([body + b"\n\n"])


def _values(data: bytes, answer: Answer) -> Iterator[Any]:
    """The JSON values of an event: one, or, from a server that forgets the empty lines between events, one a line."""
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
    """The JSON value, or None; whatever its encoding and its numbers are."""
    for errors in ("strict", "surrogatepass", "surrogateescape"):
        try:
            text = data.decode("utf-8", errors)
        except UnicodeDecodeError:
            continue
        try:
            return json.loads(
                text, parse_int=lambda digits: int(digits) if len(digits) < 20 else float(digits), strict=False
            )
        except (ValueError, RecursionError):
            return None
    return None


def error_in(value: Any, named: bool = False) -> Any:
    """The error that a JSON value is or holds, or None; `named`: it came as an error."""
    if isinstance(value, list):
        value = next((v for v in value if isinstance(v, dict)), value)
    if not isinstance(value, dict):
        return value if named and value else None
    inner = value.get("error")
    if not inner and isinstance(choices := value.get("choices"), list):  # some relays put it there
        inner = next((c["error"] for c in choices if isinstance(c, dict) and c.get("error")), None)
    if isinstance(inner, dict) and inner:
        return value | {name: v for name, v in inner.items() if v is not None}
    if inner or named or "error" in (value.get("object"), value.get("type")):
        return value
    said = (
        value.get("detail")
        or value.get("errors")
        or (value.get("message") if isinstance(value.get("message"), str) else None)
    )
    return value if said and "choices" not in value else None


def _take(value: Any, answer: Answer, text: Joined, refusal: Joined) -> None:
    """One event into the answer, whatever is missing or of another type."""
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
    """The text of a content: a string, or a list of parts that hold some."""
    if isinstance(value, list):
        return "".join(_text(part, depth + 1) for part in value) if depth < 20 else ""
    if isinstance(value, dict):
        return _text(value.get("text"), depth + 1) if depth < 20 and value.get("type", "text") in ("text", "output_text") else ""
    return "" if value is None or isinstance(value, bool) else str(value)


def _count(answer: Answer, usage: dict[str, Any], written: bool) -> None:
    """Tokens, when all that is told makes sense: none told, or 0 for a text, is unknown and never free."""
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    counts = [
        _number(n)
        for n in (usage.get("prompt_tokens"), cached if cached is not None else 0, usage.get("completion_tokens"))
    ]
    if None in counts or not counts[0] or counts[1] > counts[0] or (written and not counts[2]):
        return
    answer.tokens_in, answer.tokens_cached, answer.tokens_out = counts
    answer.begun = answer.begun or bool(counts[2])


def _number(value: Any) -> int | None:
    """A count of tokens: a whole number, also as text or float."""
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,10}(\.0{0,10})?", str(value), re.ASCII):
        return None
    number = int(float(str(value)))
    return number if number <= MOST_TOKENS else None


def _short(error: Any) -> str:
    said = error.get("message") or error.get("error") or error.get("detail") if isinstance(error, dict) else error
    return Message("error: %(why)s", why=clean(str(said)[:190]))
