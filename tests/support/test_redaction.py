"""What redaction hides and what it leaves: tables of texts, JSON, names and values of the environment."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from urllib.parse import quote, quote_plus

import pytest

from app.config import ROOT
from app.support import redaction as module
from app.support.redaction import HIDDEN, redact, redact_json, secrets_of

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq8\nhunter2hunter2\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJodW50ZXIyIjoxfQ.c2lnbmF0dXJlaHVudGVyMg"

SECRETS = [  # text, what must not be left of it
    ("password='hunter2'", "hunter2"), ('"api_key": "hunter2"', "hunter2"), ("{'token': 'hunter2'}", "hunter2"), ("MAILER_KEY=hunter2", "hunter2"),
    ("redis://:hunter2@127.0.0.1:6379/0", "hunter2"), ("postgresql://joe:hun:ter2@db/x", "ter2"), ("amqp://joe:p@ss/w0rd@mq:5672/v", "w0rd"),
    ("mysql://joe:hun/ter2@db/x", "ter2"), ("rediss://a:hunter2@x,rediss://b:hunter3@y", "hunter3"), ("https://3f2a3f2a3f2a3f2a3f2a3f2a3f2a3f2a@sentry.io/1", "3f2a"),
    (f"sent {JWT} to x", "eyJ"), (f"key:\n{PEM}\nrest", "hunter2"), (json.dumps({"k": PEM}), "hunter2"), (PEM[:70], "MIIE"), (repr(PEM), "hunter2"),
    ("password=\"with blanks in it\"", "blanks"), ("password='it''s'", "it"), (r'"password": "a\"b hunter2"', "hunter2"), (r"'password': 'a\'b hunter2'", "hunter2"),
    (json.dumps({"body": json.dumps({"password": "two words"})}), "words"), (json.dumps(json.dumps(json.dumps({"secret": "two words"}))), "words"),
    ("clientSecret: hunter2", "hunter2"), ("client_secret=hunter2&x=1", "hunter2"), ("X-Api-Key: hunter2", "hunter2"), ("apiKey=hunter2", "hunter2"),
    ('{"accessToken":"hunter2"}', "hunter2"), ("refresh-token = hunter2", "hunter2"), ("Authorization: Basic am9lOmh1bnRlcjI=", "am9l"),
    ("Authorization: Digest username=joe, response=hunter2", "hunter2"), ("Set-Cookie: session=hunter2; Path=/", "hunter2"), ("Cookie: a=1; b=hunter2", "hunter2"),
    ("curl -H 'Authorization: Bearer abc.def-ghi'", "abc.def"), ("'Bearer abcdef123456'", "abcdef"), ("used basic dXNlcjpwYXNz", "dXNl"),
    ("AKIAIOSFODNN7EXAMPLE", "AKIA"), ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJal"), ("ghp_0123456789abcdefghij", "ghp_0"),
    ("github_pat_11ABCDEFG0123456789", "11ABC"), ("xoxb-123456789012-abc", "123456"), ("sk_live_0123456789abcdef", "sk_live"), ("rk_test_0123456789abcdef", "0123"),
    ("whsec_0123456789abcdef", "0123"), ("glpat-0123456789abcdefghij", "0123"), ("AIza0123456789abcdefghijklmnopqrstuvwxyzA", "0123"), ("sk-ant-api03-abcdefgh", "abcd"), ("ainj_abcd2345Zm9vYmFyYmF6cXV4cXV1eGNvcmdlZ3JhdWx0", "Zm9v"),
    ("npm_0123456789abcdefghijklmnopqrstuvwxyz", "0123"), ("SG.0123456789abcdefghij.0123456789abcdefghij", "0123"), ("hf_0123456789abcdefghij", "0123"),
    ("https://hooks.slack.com/services/T000/B000/hunter2", "hunter2"), ("bot 123456789:AAabcdefghijklmnopqrstuvwxyz0123456", "AAab"),
    ("DB_PASSWORD_2=hunter2", "hunter2"), ("PGPASSWORD=hunter2 psql", "hunter2"), ("mysqldump --password=hunter2 x", "hunter2"), ("tool --token hunter2 x", "hunter2"),
    ("Command '['tool', '--password', 'hunter2']' returned 1", "hunter2"), ('os.environ["API_KEY"] = "hunter2"', "hunter2"), ("<password>hunter2</password>", "hunter2"),
    ("<ns:Password type='text'>hunter2</ns:Password>", "hunter2"), ("AccountKey=hunter2;Endpoint=x", "hunter2"), ("wrong password 'hunter2' for joe", "hunter2"),
    ("the password is 'hunter2'", "hunter2"), ('"password": 12345678', "12345678"), ("'passwords': ['hunter2', 'x']", "hunter2"), ("password: ('joe', 'hunter2')", "hunter2"),
    ("secret => hunter2", "hunter2"), ("secret := hunter2", "hunter2"), ("pass=hunter2", "hunter2"), ("log\\nDB_PASSWORD=hunter2\\nx", "hunter2"), ("password=b'hunter2'", "hunter2"),
    ("password=`hunter2`", "hunter2"), ("PASSWORD : hunter2", "hunter2"), ("https://x.example/cb?code=1&access_token=hunter2#a", "hunter2"), ("chiave_segreta=hunter2", "hunter2"),
    ("encryptionKey: 'hunter2'", "hunter2"), ("mailer_key=Ab3dEf6hIj9kLm2nOp5q", "Ab3d"), ("x_signature=0123456789abcdef0123456789abcdef", "0123"), ("password='unclosed hunter2\nnext", "hunter2"),
]
LEFT = [
    "tokens_in=12", "max_tokens: 4096", '"total_tokens": 118', "prompt_tokens=5 completion_tokens=7", "token: 12 of 40", "tokens: 12", "primary_key: id", "key: value", "sort_key=name",
    "keyboard: it", "monkey=4", "a token of thanks", "token_type: bearer", "token expired", "password: required", "password must be 8 characters", "unexpected token 'x'",
    "basic information about jobs", "bearer token missing", "public_key=abc", "idempotency_key=order-12", "KeyError: 'password'", "https://example.com/a@b:c", "http://127.0.0.1:8000/x@y",
    "at 10:20:30 in /srv/app.py:12", "global-configuration-settings-of-all", "password=None", "token=None", "secret_name: db", "password_min_length: 8", "Completed 5, failed 3",
    "PASSWORD_STORE_DIR=/home/joe", "PWD=/home/joe", "author: Joe", "authority=x", "compass=north", "bypass=1", "tokenizer: fast", "keys: 3", "cache_key=a1", "sk-short", "cookies: 3",
    'File "/srv/app/jobs.py", line 12, in run', "def login(user: str, password: str)", "pass: 12, fail: 0", "token=self.token", "s3_key=uploads/2026/a.csv", "SSH_AUTH_SOCK=/tmp/x",
]


@pytest.mark.parametrize("text,secret", SECRETS)
def test_a_secret_in_text_is_hidden(text, secret):
    shown = redact(text)
    assert secret not in shown and HIDDEN in shown
    assert redact(shown) == shown, "what is hidden stays as it is"
    assert secret not in redact("x" * 50 + " " + text + " y") and secret not in redact(f"line\n  {text}\nline")


@pytest.mark.parametrize("text", LEFT)
def test_what_is_no_secret_is_left(text):
    assert redact(text) == text


HIDES = [
    {"password": "x"}, {"passwd": "x"}, {"Pwd": "x"}, {"api_key": "x"}, {"apiKey": "x"}, {"APIKEY": "x"}, {"x-api-key": "x"}, {"accessToken": "x"}, {"token": "x"}, {"token": 123456},
    {"client_secret": "x"}, {"clientSecret": "x"}, {"Authorization": "x"}, {"Set-Cookie": "x"}, {"private_key": "x"}, {"privateKey": "x"}, {"passphrase": "x"}, {"credentials": {"a": "x"}},
    {"password": 1234}, {"passwords": ["x", "y"]}, {"secret": ["x"]}, {"secrets": {"a": "x"}}, {"tokens": ["x1", "x2"]}, {"stripe_key": "x"}, {"signing_key": "x"}, {"aws_secret_access_key": "x"},
    {"STRIPE_KEY": "x"}, {"db_pass": "x"}, {"auth": "joe:x"}, {"jwt": "x"}, {"session_token": "x"}, {"webhookSecret": "x"}, {"ssh_key": "x"}, {"licenseKey": "x"}, {"csrftoken": "x"},
    {"mailer_key": "Ab3dEf6hIj9kLm2nOp5q"}, {"name": "SMTP_PASSWORD", "value": "x"}, {"key": "api_key", "value": "x"}, {"password": 3.5}, {"apiKeys": ["x"]}, {"password_hash": "x"}, {"sharedAccessKey": "x"},
]
SHOWS = [
    {"tokens_in": 5}, {"max_tokens": 4096}, {"total_tokens": 5}, {"tokens": 5}, {"tokens": "12"}, {"token_count": 5}, {"token_type": "bearer"}, {"primary_key": "id"}, {"sort_key": "name"}, {"key": "x"},
    {"keyboard": "it"}, {"keys": ["a"]}, {"public_key": "x"}, {"password": None}, {"password": ""}, {"password": True}, {"token": 12}, {"password_required": "yes"}, {"secret_name": "db"}, {"author": "x"},
    {"keyword": "x"}, {"mailer_key": "daily-news"}, {"object_key": "Ab3dEf6hIj9kLm2nOp5q"}, {"cookies": 3}, {"maxTokens": 5}, {"outputTokens": 5}, {"passed": 5}, {"tokenizer": "x"}, {"meta_key": "x"},
]


@pytest.mark.parametrize("value", HIDES, ids=str)
def test_json_hides_by_name_whatever_the_value(value):
    for given in (value, [value], {"deep": [{"er": value}]}, (value,)):
        shown = json.dumps(redact_json(given))
        assert HIDDEN in shown and ': "x' not in shown and '["x' not in shown and "1234" not in shown and "Ab3d" not in shown and "joe" not in shown


@pytest.mark.parametrize("value", SHOWS, ids=str)
def test_json_shows_what_is_no_secret(value):
    assert redact_json(value) == value


def test_json_keeps_its_shape_and_the_value_given():
    given = {"b": [1, None, True, "a", {"c": 2.5}], "a": {}, "list": []}
    assert redact_json(given) == given and list(redact_json(given)) == ["b", "a", "list"] and redact_json(given) is not given
    given = {"password": "hunter2", "note": "password=hunter2"}
    assert "hunter2" not in json.dumps(redact_json(given)) and given["password"] == "hunter2"
    assert redact_json(None) is None and redact_json(7) == 7 and redact_json("password=hunter2") == "password=" + HIDDEN
    assert "AKIAIOSFODNN7EXAMPLE" not in redact_json({"AKIAIOSFODNN7EXAMPLE": 1, "x": 2})


def test_json_of_any_depth_breadth_and_circle_ends():
    deep = []
    for _ in range(200_000):
        deep = [deep]
    ring: dict = {}
    ring["self"] = [ring] * 9
    for value in (deep, ring, [[0] * 1000] * 1000):
        assert len(json.dumps(redact_json(value))) < 2_000_000


def test_redacted_json_text_is_still_json():
    given = {"password": 12345678, "n": {"tokens": ["x"], "secret": [1, {"a": "]"}], "api_key": 5.5, "deep": {"pwd": "a}b"}}, "url": "redis://:pw@h/0", "last": 1}
    for text in (json.dumps(given), json.dumps(given, indent=2), json.dumps(given, separators=(",", ":"))):
        shown = json.loads(redact(text))
        assert shown["last"] == 1 and shown["password"] == HIDDEN and shown["n"]["deep"]["pwd"] == HIDDEN, text


VALUE = "p\"ä'ss w&rd+/1\\2é"


@pytest.mark.parametrize("form", [
    VALUE, quote(VALUE, safe=""), quote(VALUE), quote_plus(VALUE), quote(VALUE, safe="").lower(), json.dumps(VALUE)[1:-1], json.dumps(VALUE, ensure_ascii=False)[1:-1],
    repr(VALUE)[1:-1], ascii(VALUE)[1:-1], json.dumps(json.dumps(VALUE))[3:-3], *(base64.b64encode(b"x" * n + VALUE.encode() + b"y" * m).decode() for n in range(4) for m in range(3)),
    base64.urlsafe_b64encode(VALUE.encode()).decode(),
])
def test_a_known_value_is_hidden_in_every_form(monkeypatch, form):
    monkeypatch.setenv("CRM_TOKEN", VALUE)
    shown = redact(f"before {form} after")
    assert HIDDEN in shown and len(shown) < 14 + len(HIDDEN) + 14, shown


def test_values_of_the_environment_are_secrets_by_their_names():
    found = secrets_of({
        "STRIPE_KEY": "hunter2-1", "AWS_SECRET_ACCESS_KEY": "hunter2-2", "GITHUB_TOKEN": "hunter2-3", "MYSQL_PWD": "hunter2-4", "SMTP_PASS": "hunter2-5", "PGPASSWORD": "hunter2-6",
        "CELERY_BROKER_URL": "amqp://joe:hunter2-7@mq", "ANY_DSN": "postgres://joe:hunter2%2D8@db", "CLIENT_SECRET_2": "hunter2-9", "GOOGLE_CREDENTIALS": '{"private_key": "hunter2-0"}',
        "DEBUG_TOKEN": "true", "A_KEY": "1", "B_SECRET": "none", "C_PASSWORD": "joe", "TLS_KEY": "/etc/ssl/server.key", "PWD": "/home/joe/secret", "PUBLIC_KEY": "hunter2-public", "MAX_TOKENS": "4096123456",
        "HOME": "/home/joe", "SSH_AUTH_SOCK": "/tmp/agent.1", "GREETING": "hunter2-hello",
    })
    assert {f"hunter2-{n}" for n in range(1, 10)} <= set(found) and any("hunter2-0" in f for f in found)
    assert not {"true", "1", "none", "joe", "/etc/ssl/server.key", "/home/joe/secret", "hunter2-public", "4096123456", "/home/joe", "/tmp/agent.1", "hunter2-hello"} & set(found)


def test_a_variable_that_comes_later_is_a_secret_too(monkeypatch):
    assert redact("see hunter2-late") == "see hunter2-late"
    monkeypatch.setenv("LATE_API_KEY", "hunter2-late")
    assert redact("see hunter2-late") == "see " + HIDDEN
    module.add_secrets(["hunter2-added"])
    assert redact("hunter2-added hunter2-late") == f"{HIDDEN} {HIDDEN}"


def test_an_odd_address_shows_no_piece_of_its_password():
    """An `@` in a password makes Apprise take the rest of it for the host, which it names in its error."""
    url = "mailto://joe:p@ssw0rd@127.0.0.1:1"
    done = subprocess.run([sys.executable, "-m", "app.integrations.apprise_send"], input=json.dumps({"url": url, "title": "t", "body": "b"}), text=True,
                          capture_output=True, cwd=ROOT, timeout=60, check=True)
    answer = json.loads(done.stdout)
    assert not answer["ok"] and "ssw0rd" not in answer["why"] and "Connection error" in answer["why"]


@pytest.mark.parametrize("url,said,shown", [
    ("mailto://joe:hunter2@mail.example.org", "cannot reach mail.example.org as joe with hunter2", f"cannot reach mail.example.org as {HIDDEN} with {HIDDEN}"),
    ("mailto://joe:a@b#c/d@mail.example.org", 'no host "b" nor c or D', f'no host "{HIDDEN}" nor {HIDDEN} or {HIDDEN}'),
    ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnl", "bad T1JJ3T3L2 and tiiajkdnl, error=404", f"bad {HIDDEN} and {HIDDEN}, error=404"),
    ("json://127.0.0.1:1/hook/hunter2?x=y", "127.0.0.1 refused hunter2", f"127.0.0.1 refused {HIDDEN}"),
    ("tgram://123:AAab%2Dcd/7", "token AAab-cd", f"token {HIDDEN}-{HIDDEN}"),
])
def test_what_a_service_says_of_an_address_names_only_its_host(url, said, shown):
    from app.integrations.apprise_send import without_parts

    assert without_parts(said, url) == shown


def test_a_bad_setting_shows_no_password(tmp_path):
    from app.config import SettingError, load_settings

    for name, value in (("PUBLIC_URL", "https://joe:hunter2@x.example/"), ("DATABASE_URL", "mysql://joe:hunter2@x"), ("QUEUE_URL", "amqp://joe:hunter2@x"), ("HEARTBEAT_URL", "joe:hunter2@x"),
                        ("ALERT_URLS", "mail=mailto:joe:hunter2@x"), ("ALERT_URLS", "mailto://joe:hun ter2@x"), ("METRICS_TOKEN", "hunter2"), ("SECRET_KEY", "hunter2"), ("SENTRY_DSN", "joe:hunter2@x")):
        with pytest.raises(SettingError) as caught:
            load_settings({"DATA_DIR": str(tmp_path), name: value})
        assert "hunter2" not in str(caught.value) and "ter2" not in str(caught.value)


def test_the_key_that_froze_the_site_is_read_at_once():
    for key in ("_token" * 41_666 + "x\ny", "_token\n" * 35_714, "a_" * 125_000 + "\n"):
        assert redact_json({key: "x"}) and redact(f'"{key}": "x"')


def test_pairs_short_names_and_a_changed_environment(monkeypatch):
    assert redact_json(["--password", "hunter22"]) == ["--password", HIDDEN]
    assert redact_json([["X-Api-Key", "hunter22"], ["page", "7"]]) == [["X-Api-Key", HIDDEN], ["page", "7"]]
    monkeypatch.setenv("STRIPE_KEY", "Zx9kQpLmN3")
    assert redact_json({"Zx9kQpLmN3": 1}) == {HIDDEN: 1}
    monkeypatch.setenv("STRIPE_KEY", "another7Value")
    assert redact("it is another7Value") == f"it is {HIDDEN}"


def test_many_addresses_with_passwords_are_read_in_one_pass():
    text = "://a:b@" * 60_000
    assert "b@" not in redact(text)
