"""Settings, strict parsing, signatures, redaction: each refusal names what is wrong."""

from __future__ import annotations

import json

import pytest

from app import registry
from app.config import SettingError, load_settings
from app.jobs import UploadedFile, job
from app.queue import TicketSerializer
from app.registry import InvalidArguments
from app.support.redaction import one_line, redact, redact_json
from app.support.validation import ValidationError, parse_delay, parse_json, parse_queue, parse_tenant


@pytest.mark.parametrize("given,said", [
    ({"WORKERS_MIN": "2", "WORKERS_MAX": "1"}, "WORKERS_MIN=2 must not be above WORKERS_MAX=1"),
    ({"WORKERS": "1", "WORKERS_MIN": "3", "WORKERS_MAX": "2"}, "WORKERS_MIN=3 must not be above WORKERS_MAX=2"),
    ({"WORKERS": "9", "WORKERS_MIN": "1", "WORKERS_MAX": "3"}, "WORKERS=9 must not be above WORKERS_MAX=3"),
    ({"WORKERS_MAX": "2"}, "WORKERS=3 must not be above WORKERS_MAX=2"),
    ({"WORKERS": "1", "WORKERS_MIN": "2"}, "WORKERS_MIN=2 must not be above WORKERS=1"),
    ({"WORKERS_MAX": "65"}, "WORKERS_MAX='65' must be a whole number from 0 to 64"),
])
def test_workers_lie_between_the_bounds_of_autoscaling(tmp_path, given, said):
    with pytest.raises(SettingError, match=said):
        load_settings({"DATA_DIR": str(tmp_path)} | given)


@pytest.mark.parametrize("given,bounds,on", [
    ({}, (3, 3), False), ({"WORKERS": "5"}, (5, 5), False), ({"WORKERS_MAX": "8"}, (3, 8), True), ({"WORKERS_MIN": "1"}, (1, 3), True),
    ({"WORKERS": "2", "WORKERS_MIN": "2", "WORKERS_MAX": "2"}, (2, 2), False),
])
def test_a_bound_that_is_not_set_is_the_number_of_workers(tmp_path, given, bounds, on):
    settings = load_settings({"DATA_DIR": str(tmp_path)} | given)
    assert (settings.workers_min, settings.workers_max, settings.autoscaling) == (*bounds, on)


@pytest.mark.parametrize("name,value", [
    ("PORT", "eighty"), ("PORT", "70000"), ("WORKERS", "0"), ("GRACE", "-1"), ("APP_TIMEZONE", "Europe/Roma"), ("PUBLIC_URL", "jobs.example.org"),
    ("DATABASE_URL", "mysql://x"), ("DATABASE_URL", "sqlite:///:memory:"), ("QUEUE_URL", "amqp://x"), ("WORKER_QUEUES", "fast"),
    ("JOB_MODULES", "a;b"), ("SECRET_KEY", "short"), ("ALLOW_PRIVATE_HOSTS", "maybe"), ("UPLOAD_MAX_MB", "1e3"), ("HOST", "0.0.0.0"),
])
def test_a_bad_setting_is_one_line_that_names_it(tmp_path, name, value):
    with pytest.raises(SettingError) as caught:
        load_settings({"DATA_DIR": str(tmp_path), name: value})
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_the_secret_key_is_made_once_and_private(tmp_path):
    first, second = (load_settings({"DATA_DIR": str(tmp_path)}).secret_key for _ in range(2))
    assert first == second and len(first) > 40
    assert (tmp_path / "secret-key").stat().st_mode & 0o777 == 0o600
    settings = load_settings({"DATA_DIR": str(tmp_path)})
    assert first not in repr(settings) and settings.key("session") != settings.key("tickets")


@pytest.mark.parametrize("text", [
    "{", "[1,]", '{"a": 1, "a": 2}', "NaN", "[1e999]", str(2**63), '"\\u0000"', '"\\ud800"', "[" * 40 + "]" * 40, "[" * 100_000, '"' + "x" * 300_000 + '"',
])
def test_json_that_is_refused_with_a_sentence(text):
    with pytest.raises(ValidationError, match=r"\.$"):
        parse_json(text)


def test_json_and_fields_that_are_taken():
    assert parse_json('{"a": [1, 2.5, null, true, "ä"]}') == {"a": [1, 2.5, None, True, "ä"]}
    assert parse_json(str(2**63 - 1)) == 2**63 - 1
    assert (parse_tenant(" acme "), parse_tenant(""), parse_queue("", "low"), parse_delay("1,5"), parse_delay(None)) == ("acme", None, "low", 1.5, 0.0)
    for parse, wrong in ((parse_tenant, "a b"), (parse_tenant, "x" * 65), (parse_queue, "HIGH"), (parse_delay, "-1"), (parse_delay, "1e9"), (parse_delay, "9" * 12)):
        with pytest.raises(ValidationError):
            parse(wrong)


@pytest.mark.parametrize("args,text", [
    ({"text": "a", "number": 1}, "kind"), ({"text": 1, "number": 1, "kind": "a"}, "text must be"), ({"text": "a", "number": True, "kind": "a"}, "number"),
    ({"text": "a", "number": 1, "kind": "z"}, "one of a, b"), ({"text": "a", "number": 1, "kind": "a", "extra": []}, "extra"),
    ({"text": "a", "number": 1, "kind": "a", "more": 1}, "no argument more"), ([], "JSON object"), ({"text": "a", "number": 1, "kind": "a", "file": 7}, "file"),
])
def test_arguments_that_do_not_fit(args, text):
    with pytest.raises(InvalidArguments, match=text):
        registry.find("TestForm").fit(args)


def test_declarations_that_are_refused():
    for options, text in (({"queue": "fast"}, "unknown queue"), ({"tries": 0}, "tries"), ({"after": ["x"]}, "unknown option"), ({"per": "shop"}, "per is"), ({"rate": "often"}, "60/m"), ({"colour": 1}, "unknown option")):
        with pytest.raises(ValueError, match=text):
            job("TestRefused", **options)
    with pytest.raises(ValueError, match="cannot be called csrf_token"):
        job("TestRefused")(lambda csrf_token: None)
    with pytest.raises(RuntimeError, match="app_context"):
        registry.find("TestNoop").dispatch()


def test_arguments_must_be_json_at_dispatch(context):
    with pytest.raises(TypeError, match="object is not JSON|must be"):
        registry.find("TestForm").dispatch(text="a", number=1, kind="a", extra={"x": object()})
    with pytest.raises(TypeError, match="uploaded for this tenant"):
        registry.find("TestForm").dispatch(text="a", number=1, kind="a", file="/etc/passwd")
    assert (UploadedFile("/tmp/x").filename, UploadedFile("/tmp/up_1", "list.csv").filename) == ("x", "list.csv")


def test_secrets_do_not_get_through():
    for text in ("key sk-abcdefghij123456", "Authorization: Bearer abc.def-ghi", "postgresql://joe:hunter22@db/x", "password=hunter22", "API_KEY: hunter22"):
        assert "hunter22" not in redact(text) and "abcdefghij" not in redact(text) and "abc.def" not in redact(text)
    hidden = redact_json({"api_key": "x1", "nested": [{"Password": "x2"}], "tokens": 5, "title": "a token of thanks"})
    assert "x1" not in json.dumps(hidden) and "x2" not in json.dumps(hidden) and hidden["title"] == "a token of thanks"
    assert one_line("a\nb\x1b[31m\u202ec") == "a\\nb\\u001b[31m\\u202ec"


def test_tickets_are_signed_json_and_a_bad_one_is_a_wake_up():
    from huey.registry import Message

    serializer, other = TicketSerializer(["new" * 10, "old" * 10]), TicketSerializer(["old" * 10])
    message = Message(id="1", name="queue.app.run", args=["u"], kwargs={}, retries=0)
    assert serializer.deserialize(serializer.serialize(message)) == message
    assert serializer.deserialize(other.serialize(message)).args == ["u"], "a rotated key still verifies"
    import pickle

    for bad in (b"", b"x:y", pickle.dumps(message), serializer.serialize(message)[:-1] + b"0", TicketSerializer(["evil" * 9]).serialize(message)):
        wake = serializer.deserialize(bad)
        assert wake.name == "queue.app.run" and wake.args == [""]
