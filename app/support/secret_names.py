"""Which names stand for secrets: keys of JSON, environment variables, headers, fields in text. One table for all of them.

A name is read as words (`clientSecret`, `X-Api-Key`, `DB_PASSWORD_2`); what stands beside the word decides: `access_token` is a
secret, `max_tokens` a count; `api_key` is one, `primary_key` none, and `mailer_key` one when its value looks random.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

SURE, WEAK, MAYBE, NONE = "sure", "weak", "maybe", ""
LONGEST = 120  # characters of a name that are looked at, the last ones
_HINT = re.compile(r"(?i)pass|pwd|psw|secret|segret|token|key|auth|cred|cookie|jwt|dsn|sig")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRETS = frozenset("password passwd passphrase passcode pwd psw secret segreto segreta credential authorization cookie jwt".split())
_ENDS = ("password", "passwd", "passphrase", "secret", "apikey", "secretkey", "accesskey", "privatekey", "authkey", "accountkey", "masterkey",
         "signingkey", "encryptionkey", "licensekey", "credentials")
_KEYS_OF = frozenset(
    "api access secret private auth signing sign encryption encrypt decryption master account storage deploy ssh gpg pgp license licence webhook "
    "session crypto hmac aes rsa jwt shared client consumer app application subscription server admin service user stripe openai anthropic aws azure "
    "gcp google github gitlab slack twilio sendgrid mailgun mailchimp brevo shopify paypal algolia datadog sentry cloudflare digitalocean firebase "
    "maps recaptcha vapid wireguard ssl tls csrf django flask wordpress prestashop woocommerce supabase pinecone cohere mistral groq replicate "
    "huggingface deepl telegram discord segreta privata".split())
_OTHER_KEYS = frozenset(
    "primary foreign sort partition cache public publishable row range hash unique index idempotency dedup deduplication group routing object bucket "
    "s3 lookup natural composite order field column dict map config setting settings message translation locale item meta option concurrency lock "
    "rate limit join parent child search filter query json first last next start end min max job queue event".split())
_COUNTS = frozenset(  # beside `token`: a number of them, or what kind they are
    "max min total prompt completion cached input output in out reasoning audio used usage count counts limit limits rate per num number n budget "
    "remaining left size length len type kind sum avg average mean cost price context window bucket special stop start end eos bos pad unk".split())
_ABOUT = frozenset(  # a last word after which the value is about a secret and not the secret
    "count counts limit limits length len size type kind name names label field fields url uri endpoint host path file filename dir directory policy "
    "rule rules hint expires expiry expired expiration ttl age at date time ms seconds days required valid enabled verified strength changed created "
    "updated usage cost error errors message status algorithm alg version format prefix description manager store provider in on".split())
_PASS_OF = frozenset(
    "user db database smtp mail email ftp sftp admin root mysql pg postgres redis login http https proxy my ldap ssh db2 mongo".split())
_RANDOM = re.compile(r"[A-Za-z0-9+/_.~-]{16,512}={0,2}")
_HEX = re.compile(r"[0-9A-Fa-f]{32,}")


def rank(name: str) -> str:
    """SURE: any value is a secret. WEAK: all but short numbers. MAYBE: when it looks random. NONE."""
    name = name[-LONGEST:]
    return _rank(name) if _HINT.search(name) else NONE


@lru_cache(4096)
def _rank(name: str) -> str:
    words = [w.lower() for w in _WORD.findall(name)]
    while len(words) > 1 and words[-1].isdigit():
        words.pop()  # DB_PASSWORD_2
    if not words:
        return NONE
    last, before = words[-1], words[:-1]
    if last in _ABOUT:
        return NONE
    ones = [w[:-1] if w.endswith("s") and len(w) > 3 and not w.endswith("ss") else w for w in words]
    if any(w in _SECRETS or w.endswith(_ENDS) for w in (*ones, *words)):
        return SURE
    if any(one.endswith("token") for one in ones):
        return NONE if _COUNTS & set(words) else WEAK
    if "key" in ones:
        at = len(ones) - 1 - ones[::-1].index("key")
        of = ones[at - 1] if at else ""
        if "public" in ones or "publishable" in ones or (at == len(ones) - 1 and of in _OTHER_KEYS):
            return NONE
        if of in _KEYS_OF or (of and at == len(ones) - 1 and name.isupper()):
            return SURE
        return MAYBE if of and at == len(ones) - 1 else NONE
    if last == "pass" and (not before or name.isupper() or before[-1] in _PASS_OF):
        return WEAK
    if last == "auth":
        return WEAK
    return MAYBE if last in ("signature", "sig") else NONE


def is_plural(name: str) -> bool:
    return name.rstrip("0123456789_-").lower().endswith("s")


def looks_random(text: str) -> bool:
    """Letters of both kinds with digits, or hexadecimal: no word, no path, no date, no uuid."""
    if len(text) < 16 or not _RANDOM.fullmatch(text):
        return False
    if _HEX.fullmatch(text):
        return True
    return len(text) >= 20 and any(c.isdigit() for c in text) and any(c.islower() for c in text) and any(c.isupper() for c in text)


def hides(name: str, value: Any) -> bool:
    """Whether a JSON value under this name is a secret. None, true, false and what is empty never is."""
    if value is None or isinstance(value, bool) or value == "":
        return False
    kind = rank(name)
    if kind == MAYBE:
        return isinstance(value, str) and looks_random(value)
    if not kind:
        return False
    if isinstance(value, int | float):
        return not is_plural(name) and (kind == SURE or abs(value) >= 1000)
    if isinstance(value, list | tuple | dict):
        if kind == WEAK and is_plural(name):
            return isinstance(value, list | tuple) and any(hides(name, one) for one in value[:20])
        return bool(value)
    return not (isinstance(value, str) and kind == WEAK and value.isdigit() and (len(value) < 4 or is_plural(name)))
