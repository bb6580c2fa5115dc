"""Tells which names stand for secrets: JSON keys, environment variables, headers and fields in text.

A name is split into words (`clientSecret`, `X-Api-Key`, `DB_PASSWORD_2`). The words beside "token" or "key" decide:
`access_token` is a secret, `max_tokens` is a count. `api_key` is a secret and `primary_key` is not; `mailer_key` is a
secret when its value looks random.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

SURE, WEAK, MAYBE, NONE = "sure", "weak", "maybe", ""
NAME_CHARS = 120  # of a longer name only the last characters are read
_HINT = re.compile(r"(?i)pass|pwd|psw|secret|segret|token|key|auth|cred|cookie|jwt|dsn|sig")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRETS = frozenset(
    "password passwd passphrase passcode pwd psw secret segreto segreta credential authorization cookie jwt".split())
_ENDS = ("password", "passwd", "passphrase", "secret", "apikey", "secretkey", "accesskey", "privatekey", "authkey",
         "accountkey", "masterkey", "signingkey", "encryptionkey", "licensekey", "credentials")
_KEYS_OF = frozenset(  # words before `key` that make it a secret
    "api access secret private auth signing sign encryption encrypt decryption master account storage deploy ssh gpg "
    "pgp license licence webhook session crypto hmac aes rsa jwt shared client consumer app application subscription "
    "server admin service user stripe openai anthropic aws azure gcp google github gitlab slack twilio sendgrid "
    "mailgun mailchimp brevo shopify paypal algolia datadog sentry cloudflare digitalocean firebase maps recaptcha "
    "vapid wireguard ssl tls csrf django flask wordpress prestashop woocommerce supabase pinecone cohere mistral groq "
    "replicate huggingface deepl telegram discord segreta privata".split())
_OTHER_KEYS = frozenset(  # words before `key` that make it no secret
    "primary foreign sort partition cache public publishable row range hash unique index idempotency dedup "
    "deduplication group routing object bucket s3 lookup natural composite order field column dict map config setting "
    "settings message translation locale item meta option concurrency lock rate limit join parent child search filter "
    "query json first last next start end min max job queue event".split())
_COUNTS = frozenset(  # words beside `token` that make it a count or a kind of tokens
    "max min total prompt completion cached input output in out reasoning audio used usage count counts limit limits "
    "rate per num number n budget remaining left size length len type kind sum avg average mean cost price context "
    "window bucket special stop start end eos bos pad unk".split())
_ABOUT = frozenset(  # last words of a name whose value describes a secret but is none
    "count counts limit limits length len size type kind name names label field fields url uri endpoint host path "
    "file filename dir directory policy rule rules hint expires expiry expired expiration ttl age at date time ms "
    "seconds days required valid enabled verified strength changed created updated usage cost error errors message "
    "status algorithm alg version format prefix description manager store provider in on".split())
_PASS_OF = frozenset(  # words before `pass` that make it a password
    "user db database smtp mail email ftp sftp admin root mysql pg postgres redis login http https proxy my ldap ssh "
    "db2 mongo".split())
_RANDOM = re.compile(r"[A-Za-z0-9+/_.~-]{16,512}={0,2}")
_HEX = re.compile(r"[0-9A-Fa-f]{32,}")


def secret_kind(name: str) -> str:
    """Which values under a name are secrets: SURE all, WEAK all but short numbers, MAYBE random ones, NONE none."""
    name = name[-NAME_CHARS:]
    return _kind(name) if _HINT.search(name) else NONE


@lru_cache(4096)
def _kind(name: str) -> str:
    words = [w.lower() for w in _WORD.findall(name)]
    while len(words) > 1 and words[-1].isdigit():
        words.pop()  # DB_PASSWORD_2
    if not words:
        return NONE
    last, before = words[-1], words[:-1]
    if last in _ABOUT:
        return NONE
    singular = [w[:-1] if w.endswith("s") and len(w) > 3 and not w.endswith("ss") else w for w in words]
    if any(w in _SECRETS or w.endswith(_ENDS) for w in (*singular, *words)):
        return SURE
    if any(word.endswith("token") for word in singular):
        return NONE if _COUNTS & set(words) else WEAK
    if "key" in singular:
        at = len(singular) - 1 - singular[::-1].index("key")
        owner, is_last = singular[at - 1] if at else "", at == len(singular) - 1
        if "public" in singular or "publishable" in singular or (is_last and owner in _OTHER_KEYS):
            return NONE
        if owner in _KEYS_OF or (owner and is_last and name.isupper()):
            return SURE
        return MAYBE if owner and is_last else NONE
    if last == "pass" and (not before or name.isupper() or before[-1] in _PASS_OF):
        return WEAK
    if last == "auth":
        return WEAK
    return MAYBE if last in ("signature", "sig") else NONE


def is_plural(name: str) -> bool:
    """Whether a name ends with an s, digits and separators aside."""
    return name.rstrip("0123456789_-").lower().endswith("s")


def looks_random(text: str) -> bool:
    """Whether a text looks like a generated key: 20 characters or more with digits, capitals and small letters, or 32
    or more hexadecimal digits. Words, paths, dates and uuids do not."""
    if len(text) < 16 or not _RANDOM.fullmatch(text):
        return False
    if _HEX.fullmatch(text):
        return True
    return len(text) >= 20 and all(any(map(test, text)) for test in (str.isdigit, str.islower, str.isupper))


def hides(name: str, value: Any) -> bool:
    """Whether a JSON value under this name is a secret. None, true, false and empty values never are."""
    if value is None or isinstance(value, bool) or value == "":
        return False
    kind = secret_kind(name)
    if kind == MAYBE:
        return isinstance(value, str) and looks_random(value)
    if not kind:
        return False
    if isinstance(value, int | float):
        return not is_plural(name) and (kind == SURE or abs(value) >= 1000)
    if isinstance(value, list | tuple | dict):
        if kind == WEAK and is_plural(name):
            return isinstance(value, list | tuple) and any(hides(name, item) for item in value[:20])
        return bool(value)
    return not (isinstance(value, str) and kind == WEAK and value.isdigit() and (len(value) < 4 or is_plural(name)))
