"""Secrets of connections at rest: keys in a file of their own, bound to whose secret it is, readable by nobody else."""

from __future__ import annotations

import base64
import logging
import threading

import pytest

from app.support import redaction
from app.support.logs import LineFormatter
from app.support.vault import FILE, UNREADABLE, Unreadable, Vault, is_key, new_key

SECRET = "abcd EFGH 1234 secret"


def test_a_secret_comes_back_and_stands_nowhere(tmp_path):
    vault = Vault(tmp_path)
    sealed = vault.seal(SECRET, "acme")
    assert vault.open(sealed, "acme") == SECRET and SECRET not in sealed and SECRET.encode() not in base64.urlsafe_b64decode(sealed)
    assert sealed != vault.seal(SECRET, "acme"), "the same secret twice cannot be told"
    file = tmp_path / FILE
    assert file.stat().st_mode & 0o777 == 0o600 and is_key(file.read_text().strip())
    assert file.read_text().strip() not in repr(vault) and SECRET not in repr(vault)


def test_a_secret_opens_for_its_label_alone(tmp_path):
    vault = Vault(tmp_path)
    sealed = vault.seal(SECRET, "acme\nwordpress\nhttps://a.example\nada")
    with pytest.raises(Unreadable):
        vault.open(sealed, "acme\nwordpress\nhttps://evil.example\nada")


@pytest.mark.parametrize("content", [None, "", "no key\n", "\xff", new_key()], ids=["none", "empty", "words", "bytes", "another key"])
def test_a_missing_damaged_or_wrong_key_is_told_in_a_sentence(tmp_path, content):
    vault = Vault(tmp_path)
    sealed = vault.seal(SECRET, "acme")
    vault.path.unlink()
    if content is not None:
        vault.path.write_text(content, "latin-1")
    for text in (sealed, "", "x", "\u20ac", sealed[:-3], "A" * 100):
        with pytest.raises(Unreadable) as caught:
            vault.open(text, "acme")
        assert str(caught.value) == UNREADABLE and not vault.reads(text)
    with pytest.raises(Unreadable):
        vault.rotated(sealed)
    if content in ("", "no key\n", "\xff"):  # it is not replaced: it may be a key that somebody can mend
        with pytest.raises(Unreadable) as caught:
            vault.seal(SECRET, "acme")
        assert FILE in str(caught.value) and vault.path.read_text("latin-1") == content
    else:
        assert vault.open(vault.seal(SECRET, "acme"), "acme") == SECRET
    assert is_key(new_key()) and not is_key("x") and not is_key("")


def test_two_processes_that_make_the_first_key_use_the_same(tmp_path):
    found, start = [], threading.Barrier(8)

    def seal() -> None:
        start.wait()
        found.append(Vault(tmp_path).seal(SECRET, "x"))

    threads = [threading.Thread(target=seal) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Vault(tmp_path).lines()) == 1 and all(Vault(tmp_path).open(text, "x") == SECRET for text in found)
    assert [p.name for p in tmp_path.iterdir()] == [FILE]


def test_an_old_key_decrypts_until_it_is_dropped(tmp_path):
    vault = Vault(tmp_path)
    old = vault.seal(SECRET, "x")
    vault.keep([new_key(), *vault.lines()])
    new = vault.rotated(old)
    assert vault.open(old, "x") == vault.open(new, "x") == SECRET
    vault.keep(vault.lines()[:1])
    assert vault.open(new, "x") == SECRET and not vault.reads(old) and vault.path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Unreadable):
        vault.open(old, "x")


def test_an_opened_secret_is_hidden_in_logs_and_exceptions(tmp_path, monkeypatch):
    monkeypatch.setattr(redaction, "_lent", {})
    vault = Vault(tmp_path)
    sealed = vault.seal("Zq 4711 kanarienvogel", "x")
    assert redaction.redact("a Zq 4711 kanarienvogel b") != "a [hidden] b"
    vault.open(sealed, "x")
    assert redaction.redact("a Zq 4711 kanarienvogel b") == "a [hidden] b"
    basic = base64.b64encode(b"ada:Zq 4711 kanarienvogel").decode()
    assert basic[8:-4] not in redaction.redact(f"x={basic}")
    try:
        raise ValueError("Zq 4711 kanarienvogel")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "failed: %s", ("Zq 4711 kanarienvogel",), (ValueError, error, error.__traceback__))
    assert "4711" not in LineFormatter().format(record)
    for shown in ("wrong password Zq4711kanarienvogel", base64.b64encode(b"ada:Zq4711kanarienvogel").decode(), "word=Zq4711kanarienvogel."):
        assert "4711kanarienvogel" not in (said := redaction.redact(shown)) and "kanarien" not in said and shown not in said, "without blanks"
    for n in range(redaction.MOST_LENT):
        redaction.hide_lent(f"another secret {n}")
    assert "kanarienvogel" in redaction.redact("Zq 4711 kanarienvogel"), "the latest hundred are hidden"
