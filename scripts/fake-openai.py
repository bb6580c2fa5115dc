#!/usr/bin/env python3
"""A fake OpenAI API for development, on 127.0.0.1: it invents its texts and can simulate errors.

    python scripts/fake-openai.py [--port 8123]

then OPENAI_BASE_URL=http://127.0.0.1:8123/v1 OPENAI_API_KEY=sk-anything

The last word of the model's name selects the behaviour: gpt-4o-mini (a good answer), fake-steady (it takes a second),
fake-slow, fake-empty, fake-length, fake-refusal, fake-filter, fake-early (the stream ends early), fake-cut (the
connection breaks),
fake-broken (200 with broken JSON), fake-plain (no stream), fake-429 (once, with Retry-After: 2), fake-429date,
fake-quota, fake-401, fake-404, fake-400, fake-500, fake-flaky (500, then a good answer), fake-hang (never answers),
fake-drip (begins and never ends), fake-drop (closes at once), fake-redirect; fake-nooptions, fake-forbids, fake-terse
(refuse stream_options, each in other words), fake-nostream (refuses a stream); fake-nousage, fake-zerousage;
fake-halves (half characters, NUL, bytes that are not UTF-8); fake-late429 (once), fake-late500, fake-late401,
fake-latequota (an error as the first event), fake-after (an error after some text). With fake-mixed the last word of
the prompt selects it, as `Pumps fake-429`; "once" and "then" count by prompt there.
GET /stats returns the number of requests, also by model.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections import Counter
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ("Le pompe di calore scaldano la casa con un terzo della corrente. Chi le sceglie guarda prima l’isolamento, "
         "poi la potenza. ").split()

REFUSED_PARTS = {  # way: field it refuses, status, body
    "nooptions": ("stream_options", 400, {"error": {"message": "Unrecognized request argument: stream_options"}}),
    "forbids": ("stream_options", 422, {"detail": [
        {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}),
    "terse": ("stream_options", 400, "Bad Request"),
    "nostream": ("stream", 400, {"error": {"message": "Unsupported value", "param": "stream", "code": "bad_value"}}),
}
LATE = {  # way: the first event of a stream
    "late429": {"error": {"message": "Please try again in 1.2s.", "type": "tokens", "code": "rate_limit_exceeded"}},
    "late500": {"error": {"message": "The server had an error", "type": "server_error", "code": None}},
    "late401": {"error": {"message": "No auth", "code": 401}},
    "latequota": {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
}


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing."""
        pass

    def do_GET(self) -> None:
        """Answer GET /stats and, for the test of a connection, GET /v1/models."""
        if self.path == "/v1/models":
            return self.answer(200, {"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model"}]})
        stats = self.server.stats  # type: ignore[attr-defined]
        self.answer(200, {"asked": sum(stats.values()), "by_model": dict(stats)})

    def do_POST(self) -> None:
        """Answer a chat completion in the way that the model's name selects."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        model, server = str(body.get("model", "")), self.server
        prompt = "".join(str(m.get("content", "")) for m in body.get("messages", []))
        with server.lock:  # type: ignore[attr-defined]
            server.stats[model] += 1  # type: ignore[attr-defined]
            server.prompts[prompt] += 1  # type: ignore[attr-defined]
            server.bodies.append(body)  # type: ignore[attr-defined]
            server.times.append(time.monotonic())  # type: ignore[attr-defined]
            n = (server.prompts[prompt] if model == "fake-mixed"  # type: ignore[attr-defined]
                 else server.stats[model])  # type: ignore[attr-defined]
        named = (prompt.split() or [""])[-1] if model == "fake-mixed" else model
        way = named.rsplit("-", 1)[-1] if named.startswith("fake-") else "well"
        refusals = {
            "quota": (429, "insufficient_quota", "You exceeded your current quota."),
            "404": (404, "model_not_found", f"The model {model} does not exist."),
            "401": (401, "invalid_api_key",
                    f"Incorrect API key provided: {self.headers.get('Authorization', '')[7:]}."),
            "400": (400, "content_policy_violation", "Your request was rejected by our safety system."),
            "500": (500, "server_error", "Something broke."),
        }
        if way in REFUSED_PARTS and REFUSED_PARTS[way][0] in body:
            _, status, said = REFUSED_PARTS[way]
            return self.answer(status, said, raw=said.encode() if isinstance(said, str) else None)
        if way == "flaky" and n % 2:
            way = "500"
        if way in refusals:
            status, code, message = refusals[way]
            return self.answer(status, {"error": {"message": message, "type": code, "code": code}})
        if way in ("429", "429date") and n == 1:
            wait = "2" if way == "429" else formatdate(time.time() + 3, usegmt=True)
            said = {"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}
            return self.answer(429, said, {"Retry-After": wait})
        if way == "redirect":
            return self.answer(301, {}, {"Location": "/v1/elsewhere"})
        if way == "hang":
            return self.server.over.wait(600) and None  # type: ignore[attr-defined]
        if way == "drop":
            self.close_connection = True
            return self.connection.shutdown(2)
        if way == "broken":
            return self.answer(200, None, raw=b'{"id": "x", "choices": [{"message": {"content": "half')
        words = " ".join(WORDS * (60 if way in ("slow", "long") else 2))
        text = {"empty": "", "refusal": ""}.get(way, f"{prompt[:80]}: {words}")
        finish = {"length": "length", "filter": "content_filter"}.get(way, "stop")
        usage = {"prompt_tokens": 100 + len(prompt) // 4, "completion_tokens": len(text) // 4, "total_tokens": 0,
                 "prompt_tokens_details": {"cached_tokens": 64}}
        if way == "plain" or not body.get("stream"):
            message = {"role": "assistant", "content": text}
            return self.answer(200, {
                "id": f"chatcmpl-{n}", "object": "chat.completion", "created": 1, "model": model, "usage": usage,
                "choices": [{"index": 0, "message": message, "finish_reason": finish}]})
        return self.stream(body, model, way, text, finish, usage, n)

    def stream(self, body: dict, model: str, way: str, text: str, finish: str, usage: dict, n: int) -> None:
        """Answer as a stream of server-sent events."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if way in LATE and (way != "late429" or n == 1):
            self.event(LATE[way])
            self.wfile.write(b"0\r\n\r\n")
            return None
        base = {"id": f"chatcmpl-{n}", "object": "chat.completion.chunk", "created": 1, "model": model}
        pieces = text.split(" ")
        if way == "halves":
            pieces = ["Caldo \ud83d", "\ude00 e\0freddo \ud83d", "fine"]
            for raw in (b"caff\xc3", b"\xa8 \xff "):
                self.chunk(b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % raw)
        if way == "refusal":
            delta = {"refusal": "I can't help with that."}
            self.event(base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        for place, piece in enumerate(pieces):
            if way in ("early", "cut") and place == len(pieces) // 2:
                if way == "early":
                    self.wfile.write(b"0\r\n\r\n")
                self.close_connection = True
                return self.connection.shutdown(2) if way == "cut" else None
            while way == "drip" and place > 3:
                if self.server.over.wait(0.5):  # type: ignore[attr-defined]
                    return None
                self.wfile.write(b"3\r\n: \n\r\n")
                self.wfile.flush()
            content = piece if way == "halves" else piece + " "
            self.event(base | {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}]})
            if way in ("slow", "steady"):
                time.sleep(0.02)
        self.event(base | {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if way == "after":
            self.event({"error": {"message": "Overloaded", "code": 503}})
        if way != "nousage" and "stream_options" in body:
            usage = usage | ({"completion_tokens": 0} if way == "zerousage" else {})
            self.event(base | {"choices": [], "usage": usage})
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")
        with self.server.lock:  # type: ignore[attr-defined]
            self.server.whole["".join(str(m.get("content", "")) for m in body.get("messages", []))] += 1
        return None

    def event(self, value: dict) -> None:
        """Send one event."""
        self.chunk(b"data: " + json.dumps(value).encode() + b"\n\n")

    def chunk(self, data: bytes) -> None:
        """Send bytes as one chunk of HTTP."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def answer(self, status: int, value: object, headers: dict | None = None, raw: bytes | None = None) -> None:
        """Send a whole answer: `value` as JSON, or the bytes `raw`."""
        body = json.dumps(value).encode() if raw is None else raw
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """The server: `stats` counts requests by model, `prompts` by prompt, `whole` the whole streams; `bodies` keeps
    their bodies, `times` when they came (monotonic)."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.stats: Counter[str] = Counter()
        self.prompts: Counter[str] = Counter()
        self.whole: Counter[str] = Counter()
        self.bodies: list[dict] = []
        self.times: list[float] = []
        self.lock, self.over = threading.Lock(), threading.Event()

    def handle_error(self, *_: object) -> None:
        """Ignore errors: the client has closed its connection."""

    @property
    def url(self) -> str:
        """The value for OPENAI_BASE_URL."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=8123)
    server = Server(parser.parse_args().port)
    print(f"OPENAI_BASE_URL={server.url}", flush=True)
    server.serve_forever()
