"""The client against servers on 127.0.0.1 that refuse, report and garble in the ways of OpenAI's and of servers like it."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading

import pytest

from app.integrations import openai_errors as errors, openai_text
from app.integrations.openai_stream import Answer, read

OK = {"choices": [{"delta": {"content": "Ciao"}, "finish_reason": "stop"}]}


class Api:
    """Answers each request with the next of `answers`: (status, headers, body), the last again and again; keeps what was asked.
    A body (or, for all of it, a status) that is a function writes to the socket itself."""

    def __init__(self) -> None:
        self.answers: list[tuple] = []
        self.asked: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self.over = threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/v1"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                data += client.recv(65536)
            head, body = data.split(b"\r\n\r\n", 1)
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            while len(body) < length:
                body += client.recv(65536)
            status, headers, answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
            self.asked.append(json.loads(body))
            self.headers.append({n.lower(): v for n, _, v in (line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:])})
            if callable(status):
                return status(client, self.over)
            client.sendall(
                f"HTTP/1.1 {status} X\r\nConnection: close\r\n".encode()
                + "".join(f"{n}: {v}\r\n" for n, v in headers.items()).encode()
            )
            client.sendall(b"\r\n")
            answer(client, self.over) if callable(answer) else client.sendall(answer)

    def close(self) -> None:
        self.over.set()
        self.socket.close()


@pytest.fixture
def api(monkeypatch):
    server = Api()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    yield server
    server.close()


def sse(*events) -> bytes:
    return b"".join(b"data: " + (e if isinstance(e, bytes) else json.dumps(e).encode()) + b"\n\n" for e in events)


def stream(*events, **headers) -> tuple:
    return 200, {"Content-Type": "text/event-stream"} | headers, sse(*events)


def refusal(status: int, body, **headers) -> tuple:
    return (
        status,
        {"Content-Type": "application/json"} | headers,
        body if isinstance(body, bytes) else json.dumps(body).encode(),
    )


def ask(seconds: float = 10.0, grows=lambda text: True, **how):
    return openai_text.generate("Pompe", "m", seconds, lambda: None, grows, **how)


def outcome(**how) -> tuple[str, str]:
    """Kind and sentence of what came in place of an answer."""
    with pytest.raises(errors.ApiError) as caught:
        ask(**how)
    assert not caught.value.sent
    return type(caught.value).__name__, str(caught.value)


@pytest.mark.parametrize(
    ("status", "body", "way"),
    [
        (
            400,
            {
                "error": {
                    "message": "Unknown parameter: 'stream_options'.",
                    "param": "stream_options",
                    "code": "unknown_parameter",
                }
            },
            1,
        ),
        (400, {"error": {"message": "Additional properties are not allowed ('stream_options' was unexpected)"}}, 1),
        (
            422,
            {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "stream_options"],
                        "msg": "Extra inputs are not permitted",
                    }
                ]
            },
            1,
        ),
        (
            400,
            {
                "object": "error",
                "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options')}]",
                "type": "BadRequestError",
                "code": 400,
            },
            1,
        ),
        (400, {"error": 'json: unknown field "stream_options"'}, 1),
        (500, {"error": {"message": "TypeError: got an unexpected keyword argument 'stream_options'"}}, 1),
        (400, {"message": "Extra fields not permitted"}, 1),
        (422, {"error": {"message": "Unsupported parameter for model llama-3", "type": "invalid_request_error"}}, 1),
        (400, b"", 1),
        (400, b"<html><h1>Bad Request</h1></html>", 1),
        (422, b"Unprocessable Entity", 1),
        (400, {"errore": "campo ignoto"}, 1),
        (
            400,
            {
                "error": {
                    "message": "Your organization must be verified to stream this model.",
                    "param": "stream",
                    "code": "unsupported_value",
                }
            },
            2,
        ),
        (400, {"error": {"message": "The model does not exist", "code": "model_not_found"}}, None),
        (
            400,
            {
                "error": {
                    "message": "This model's maximum context length is 8192 tokens.",
                    "param": "messages",
                    "code": "context_length_exceeded",
                }
            },
            None,
        ),
        (
            400,
            {
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
            None,
        ),
        (400, {"error": {"message": "Rejected by our safety system.", "code": "content_policy_violation"}}, None),
        (
            422,
            {
                "detail": [
                    {
                        "type": "missing",
                        "loc": ["body", "model"],
                        "msg": "Field required",
                        "input": {"stream_options": {}},
                    }
                ]
            },
            None,
        ),
        (401, {"error": {"message": "stream_options: no key"}}, None),
        (429, {"error": {"message": "stream_options"}}, None),
    ],
)
def test_a_refusal_that_may_mean_what_we_added_is_asked_again_without_it(api, status, body, way):
    api.answers = [refusal(status, body)]
    with pytest.raises(errors.ApiError) as caught:
        ask()
    assert getattr(caught.value, "way", None) == way, str(caught.value)
    if way and b"stream" not in json.dumps(body if isinstance(body, dict) else "").encode():
        assert outcome(proven=True)[0] == "RequestRejected"  # a server that has taken them before means something else
    for further in (1, 2):
        assert way == 2 and further == 1 or outcome(way=further)[0] != "Humbler", "asked on and on"
    assert "stream_options" in api.asked[0] and "stream_options" not in api.asked[-1] and "stream" not in api.asked[-1]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ({"error": {"message": "Rate limit", "type": "tokens", "code": "rate_limit_exceeded"}}, "Throttled", "20 s"),
        ({"error": {"message": "Rate limit, try again in 7.66s", "type": "requests"}}, "Throttled", "8 s"),
        ({"error": {"message": "Please retry after 26 seconds.", "code": "429"}}, "Throttled", "26 s"),
        ({"error": {"message": "Please try again in 1m30.5s", "code": 429}}, "Throttled", "90 s"),
        (
            {
                "error": {
                    "code": 429,
                    "status": "RESOURCE_EXHAUSTED",
                    "message": "quota",
                    "details": [{"@type": "RetryInfo", "retryDelay": "34s"}],
                }
            },
            "Throttled",
            "34 s",
        ),
        ([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x"}}], "Throttled", "20 s"),
        (
            {
                "id": "x",
                "error": {"code": 429, "message": "Provider"},
                "choices": [{"delta": {"content": ""}, "finish_reason": "error"}],
            },
            "Throttled",
            "20 s",
        ),
        (
            {"choices": [{"delta": {"content": ""}, "finish_reason": "error", "error": {"code": 429, "message": "Provider"}}]},
            "Throttled",
            "20 s",
        ),
        ({"object": "error", "message": "Too many requests", "type": "rate_limit", "code": None}, "Throttled", "20 s"),
        ({"code": 429, "error": {"message": "x", "code": None}}, "Throttled", "20 s"),
        ({"error": "Too Many Requests"}, "Throttled", "20 s"),
        ({"error": {"message": "m", "retry_after": 5, "code": 429}}, "Throttled", "5 s"),
        (
            {"error": {"message": "q", "type": "insufficient_quota", "code": "insufficient_quota"}},
            "RequestRejected",
            "insufficient_quota",
        ),
        ({"error": {"message": "Insufficient Balance", "code": 402}}, "RequestRejected", "insufficient_quota"),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            "ApiUnavailable",
            "503. Overloaded",
        ),
        ({"error": {"message": "boom", "type": "server_error", "code": None}}, "ApiUnavailable", "boom"),
        ({"error": {"message": "half \ud800 \u0000", "code": 500}}, "ApiUnavailable", "half"),
        ({"error": {"message": "unheard of"}}, "ApiUnavailable", "unheard of"),
        ({"error": "boom"}, "ApiUnavailable", "boom"),
        ({"detail": "Service unavailable"}, "ApiUnavailable", "503"),
        ({"status": 502, "message": "gate"}, "ApiUnavailable", "502"),
        ({"error": {"message": "bad key", "code": "invalid_api_key"}}, "RequestRejected", "OPENAI_API_KEY"),
        ({"error": {"message": "no", "type": "authentication_error"}}, "RequestRejected", "OPENAI_API_KEY"),
        ({"error": {"message": "no such", "code": "model_not_found"}}, "RequestRejected", "404"),
        ({"error": {"message": "too long", "code": "context_length_exceeded", "param": "messages"}}, "RequestRejected", "400"),
        ({"error": {"message": "no stream_options here", "code": 400}}, "Humbler", "without"),
        ({"error": {"message": ["x", {"deep": 1}], "code": {"a": 1}, "type": 7}}, "ApiUnavailable", "500"),
    ],
)
def test_an_error_before_any_text_is_the_same_as_a_status(api, error, kind, words):
    for body in (
        sse(error),
        b"event: error\n" + sse(error),
        sse({"choices": [{"delta": {"role": "assistant", "content": ""}}]}, error),
        json.dumps(error).encode() + b"\n",
        b": ping\n\n" + sse(error, b"[DONE]"),
    ):
        api.answers, api.asked = [(200, {"Content-Type": "text/event-stream"}, body)], []
        found, sentence = outcome()
        assert (found, words in sentence) == (kind, True), sentence
        sentence.encode()
    api.answers, api.asked = [refusal(200, error)], []
    assert outcome()[0] == kind


def test_an_error_event_says_how_long_to_wait_by_its_headers_too(api):
    api.answers = [stream({"error": {"code": 429}}, **{"Retry-After": "7"})]
    assert outcome() == ("Throttled", "The API asks to wait 7 s (429).")
    for given, seconds in {
        "nan": 20,
        "inf": 3600,
        "-5": 1,
        "0": 1,
        "1e9": 3600,
        "x": 20,
        "Wed, 21 Oct 2015 07:28:00 GMT": 1,
        "Wed": 20,
    }.items():
        assert errors.wait_of({"retry-after": given}) == seconds, given
    assert errors.wait_of({"retry-after-ms": "2500", "retry-after": "9"}) == 2.5


@pytest.mark.parametrize(
    "before",
    [
        {"choices": [{"delta": {"content": "Un"}}]},
        {"choices": [{"delta": {"reasoning_content": "hm"}}]},
        {"choices": [{"delta": {"refusal": "no"}}]},
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}},
    ],
)
def test_an_error_after_something_was_written_may_have_been_paid(api, before):
    api.answers = [stream(before, {"error": {"code": 429, "message": "Rate limit"}})]
    answer = ask()
    assert answer.broken == "error: Rate limit" and answer.begun


def text_of(*chunks: bytes) -> Answer:
    answer = Answer()
    read(chunks, False, answer, lambda text: True)
    return answer


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([b'"a\\ud83d"', b'"\\ude00b"'], "a\U0001f600b"),
        ([b'"\\ud83d"', b'""', b"null", b'"\\udc80"'], "\U0001f480"),
        ([b'"\\ud83d"'], "\ufffd"),
        ([b'"\\ud83dx\\ude00"'], "\ufffdx\ufffd"),
        ([b'"\\ude00"', b'"\\ud83d"', b'"y"'], "\ufffd\ufffdy"),
        ([b'"a\\u0000b"'], "a\ufffdb"),
        ([b'"a\x00b"'], "a\ufffdb"),
        ([b'"\xf0\x9f"', b'"\x98\x80!"'], "\U0001f600!"),
        ([b'"\xff\xfe z"'], "\ufffd\ufffd z"),
        ([b'"\xed\xa0\xbd"', b'"\xed\xb8\x80"'], "\U0001f600"),
        ([b'"\xc3"', b'"x"'], "\ufffdx"),
        ([b'"\xe2\x80\xa8"'], "\u2028"),
        ([b'"\xc3\xa8"'], "è"),
        ([b'[{"type": "text", "text": "a"}, {"type": "thinking", "text": "no"}, {"text": "b"}]'], "ab"),
        ([b"12"], "12"),
        ([b'{"text": "c"}'], "c"),
    ],
)
def test_no_text_is_lost_to_its_encoding(pieces, text):
    answer = text_of(*(b'data: {"choices": [{"delta": {"content": %s}}]}\n\n' % piece for piece in pieces))
    assert answer.text == text and not answer.broken
    answer.text.encode()
    body = b"".join(b'data: {"choices": [{"delta": {"content": %s}}]}\r\n\r\n' % piece for piece in pieces)
    assert text_of(*(body[n : n + 1] for n in range(len(body)))).text == text  # however the bytes are cut


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"12",
        b"null",
        b"[]",
        b'"x"',
        b"keep-alive",
        b"{}",
        b'{"choices": null}',
        b'{"choices": {}}',
        b'{"choices": [null, 1, "x"]}',
        b'{"choices": [{"delta": null}]}',
        b'{"choices": [{"delta": 5}]}',
        b'{"choices": [{}]}',
        b'{"choices": [], "usage": []}',
        b'{"choices": [], "usage": "x"}',
        b'{"choices": [], "model": 5, "id": {}}',
        b'{"choices": [], "model": "\\ud800\\u0000"}',
        b'{"choices": [], "usage": {"prompt_tokens_details": 5}}',
        b'{"choices": [{"delta": {"refusal": ""}, "finish_reason": ""}]}',
        b'{"choices": [], "usage": {"prompt_tokens": %s}}' % (b"9" * 6000),
        b'{"choices": [], "x": NaN}',
    ],
)
def test_an_event_of_any_shape_costs_no_text(event):
    whole = sse(
        {"choices": [{"delta": {"content": "Un "}}]},
        event,
        {"choices": [{"delta": {"content": "testo"}, "finish_reason": "stop"}]},
        b"[DONE]",
    )
    answer = text_of(whole)
    assert answer.text.replace("5", "") == "Un testo" and answer.finish == "stop" and not answer.broken
    answer.model.encode()


@pytest.mark.parametrize("event", [b'{"choices": [{"delta": {"content": "hal', b"[" * 100_000, b'{"a": {' * 50_000])
def test_an_event_that_cannot_be_read_is_a_hole_that_is_said(event):
    answer = text_of(
        sse(
            {"choices": [{"delta": {"content": "Un "}}]},
            event,
            {"choices": [{"delta": {"content": "testo"}, "finish_reason": "stop"}]},
        )
    )
    assert answer.text == "Un testo" and answer.broken == "an event that cannot be read"


def test_a_stream_that_says_it_is_all_is_whole():
    assert text_of(sse({"choices": [{"delta": {"content": "Ciao"}}]}, b"[DONE]")).finish == "stop"
    assert text_of(sse({"choices": [{"delta": {"content": "Ciao"}}]})).finish is None
    assert text_of(b"\xef\xbb\xbf" + sse({"choices": [{"delta": {"content": "Ciao"}}]}, b"[DONE]")).text == "Ciao"
    for said, meant in {"MAX_TOKENS": "length", "SAFETY": "content_filter", "end_turn": "stop"}.items():
        assert text_of(sse({"choices": [{"delta": {"content": "x"}, "finish_reason": said}]})).finish == meant


def test_events_without_empty_lines_between_them_and_without_data_are_read():
    lines = [json.dumps({"choices": [{"delta": {"content": c}}]}).encode() for c in "abc"]
    assert text_of(b"".join(b"data: %s\n" % line for line in lines)).text == "abc"
    assert text_of(b"".join(b"%s\r\n" % line for line in lines)).text == "abc"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 4}, (10, 0, 4)),
        ({"prompt_tokens": "10", "completion_tokens": 4.0}, (10, 0, 4)),
        ({"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 6}}, (10, 6, 4)),
        ({"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": None}, (10, 0, 4)),
        ({"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 11}}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None),
        ({"prompt_tokens": 10, "completion_tokens": 0}, None),
        ({"prompt_tokens": 10}, None),
        ({"prompt_tokens": -1, "completion_tokens": 4}, None),
        ({"prompt_tokens": 10**12, "completion_tokens": 4}, None),
        ({"prompt_tokens": True, "completion_tokens": 4}, None),
        ({"prompt_tokens": float("nan"), "completion_tokens": 4}, None),
        ({"prompt_tokens": 1.5, "completion_tokens": 4}, None),
        ({"prompt_tokens": [], "completion_tokens": {}}, None),
        ({"prompt_tokens": "\u0661\u0662", "completion_tokens": 4}, None),
        ({}, None),
    ],
)
def test_tokens_that_make_no_sense_are_unknown_and_never_free(usage, tokens):
    answer = text_of(
        sse({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]}, {"choices": [], "usage": usage})
    )
    assert (
        (answer.tokens_in, answer.tokens_cached, answer.tokens_out) if tokens else answer.tokens_in
    ) == tokens and answer.text == "x"


def test_a_body_that_is_no_stream_is_read_and_one_that_is_said_to_be_json_may_be_one(api):
    api.answers = [
        refusal(
            200,
            {
                "choices": [{"message": {"content": "Ciao"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 1},
            },
        )
    ]
    assert (ask(way=2).text, ask().tokens_in) == ("Ciao", 3)
    api.answers = [refusal(200, sse(OK))]
    assert ask().text == "Ciao"
    api.answers = [refusal(200, b'{"choices": [{"message": {"content": "half')]
    assert ask().finish is None
    api.answers = [(200, {"Content-Type": "text/html"}, b"<html>no</html>")]
    assert ask().finish is None


def test_endless_bodies_are_bounded(api):
    def for_ever(piece: bytes):
        def write(client, over):
            while not over.is_set():
                client.sendall(piece)

        return write

    api.answers = [(200, {"Content-Type": "text/event-stream"}, for_ever(b"data: " + b"x" * 65536))]
    assert ask().broken.startswith("longer than")
    api.answers = [(200, {"Content-Type": "application/json"}, for_ever(b"[" * 65536))]
    assert ask().broken.startswith("longer than")
    api.answers = [(400, {"Content-Type": "application/json"}, for_ever(b" " * 65536))]
    assert outcome(way=2)[0] == "RequestRejected"
    bomb = gzip.compress(b"\0" * 200_000_000, 9)
    api.answers = [(500, {"Content-Encoding": "gzip"}, bomb)]
    assert outcome()[0] == "ApiUnavailable"
    api.answers = [(200, {"Content-Encoding": "gzip", "Content-Type": "text/event-stream"}, bomb)]
    assert ask().broken.startswith("longer than")
    api.answers = [(200, {"Content-Encoding": "gzip"}, b"no gzip at all")]
    assert ask().broken


def test_one_deadline_holds_for_headers_refusal_and_answer(api):
    def drip(piece: bytes):
        def write(client, over):
            while not over.wait(0.05):
                client.sendall(piece)

        return write

    api.answers = [(200, {"Content-Type": "text/event-stream"}, drip(sse({"choices": [{"delta": {"content": "x"}}]})))]
    answer = ask(0.5)
    assert answer.broken == "no end within 0 s" and answer.text
    api.answers = [(400, {}, drip(b" "))]
    assert outcome(seconds=0.5, way=2)[0] == "RequestRejected"
    api.answers = [(drip(b"HTTP/1.1 "), {}, b"")]  # headers that never end
    with pytest.raises(errors.ApiUnavailable) as caught:
        ask(0.5)
    assert caught.value.sent and "did not answer" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://[", "nonsense", "ftp://127.0.0.1/", "http://127.0.0.1:{over}/v1", "http://127.0.0.1:0/", "http://a b/"]
)
def test_an_address_that_is_none_is_said_and_nothing_was_sent(api, monkeypatch, url):
    """`over` is the port of a server plus 65,536: the resolver would take it for that server's."""
    monkeypatch.setenv("OPENAI_BASE_URL", url.format(over=int(api.url.split(":")[2].split("/")[0]) + 65536))
    assert outcome() == ("RequestRejected", "Correct OPENAI_BASE_URL: it is no http or https address.")
    openai_text.of_environment().is_local, openai_text.of_environment().server


# ---- the account of a tenant -----------------------------------------------------------------------------------------


def of_tenant(api, **more) -> openai_text.Api:
    return openai_text.Api(**{"base": api.url, "key": "sk-tenant-4711", "private": True} | more)


def ask_as(account: openai_text.Api):
    try:
        return openai_text.generate("Ciao?", "m", 5, lambda: None, lambda _: True, api=account)
    except errors.ApiError as error:
        return error


def test_a_tenants_account_pays_with_its_key_at_its_address(api, monkeypatch):
    """Nothing of the environment goes with it: neither the key nor the organization, nor a proxy that would see it."""
    for name, value in (("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"), ("OPENAI_ORG_ID", "org-of-the-server"), ("OPENAI_PROJECT_ID", "proj-of-the-server"), ("HTTP_PROXY", "http://127.0.0.1:1")):
        monkeypatch.setenv(name, value)
    api.answers = [stream(OK)]
    assert ask_as(of_tenant(api)).text == "Ciao"
    assert api.headers[-1]["authorization"] == "Bearer sk-tenant-4711" and not {"openai-organization", "openai-project"} & set(api.headers[-1])
    assert ask_as(of_tenant(api, options={"organization": "org-1", "project": "proj_1"})).text == "Ciao"
    assert (api.headers[-1]["openai-organization"], api.headers[-1]["openai-project"]) == ("org-1", "proj_1")
    assert api.headers[-1]["host"] == api.url.split("/")[2] and "4711" not in repr(of_tenant(api))


def test_a_tenants_address_is_resolved_once_checked_and_pinned(api):
    asked = []

    def resolve(host, port, **_):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1" if len(asked) == 1 else "127.0.0.9", port))]

    api.answers = [stream(OK)]
    port = api.url.split(":")[2].split("/")[0]
    assert ask_as(of_tenant(api, base=f"http://api.example:{port}/v1", resolve=resolve)).text == "Ciao"
    assert asked == ["api.example"] and api.headers[-1]["host"] == f"api.example:{port}"


@pytest.mark.parametrize("base", ["https://127.0.0.1/v1", "https://169.254.169.254/v1", "https://[::ffff:10.0.0.1]/v1", "http://api.example/v1", "https://2130706433/v1"])
def test_a_tenants_address_in_an_internal_network_is_refused(api, base):
    error = ask_as(of_tenant(api, base=base, private=False))
    assert isinstance(error, errors.RequestRejected) and not error.sent and ("internal network" in str(error) or "https://" in str(error))
    assert not api.asked


def test_the_environments_own_address_stays_free(api):
    api.answers = [stream(OK)]
    assert ask_as(openai_text.of_environment()).text == "Ciao" and api.headers[-1]["authorization"] == "Bearer sk-test"


@pytest.mark.parametrize("status, headers, words", [(401, {}, "connection of the tenant"), (302, {"Location": "http://127.0.0.1:1/"}, "address of the connection")])
def test_what_a_tenant_must_correct_is_its_connection(api, status, headers, words):
    api.answers = [(status, {"Content-Length": "0"} | headers, b"")]
    error = ask_as(of_tenant(api))
    assert isinstance(error, errors.RequestRejected) and words in str(error) and "OPENAI_" not in str(error)
    error = ask_as(openai_text.of_environment())
    assert "OPENAI_" in str(error)


def test_a_tenants_name_that_is_unknown_may_be_known_later(api):
    error = ask_as(of_tenant(api, base="https://no-such-name.invalid/v1"))
    assert isinstance(error, errors.ApiUnavailable) and not error.sent
