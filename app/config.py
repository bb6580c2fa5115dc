"""Settings: read from the environment once, validated, named in every error.

`load_settings(environ)` returns a frozen `Settings` or raises `SettingError`,
whose text is one line that names the variable and says what to do.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from app.addresses import bracketed, is_loopback, public_url

QUEUES = ("high", "default", "low")
ROOT = Path(__file__).resolve().parent.parent


class SettingError(Exception):
    """A bad setting; the text is one line that names the variable."""


@dataclass(frozen=True, repr=False)
class Settings:
    """All that can be set from outside; `repr` shows no value, so no secret."""

    data_dir: Path
    host: str
    port: int
    public_url: str
    trusted_proxies: int
    database_url: str
    queue_url: str
    workers: int
    worker_queues: tuple[str, ...]
    grace: int
    timezone: ZoneInfo
    job_modules: tuple[str, ...]
    upload_max_mb: int
    secret_key: str
    secret_key_fallbacks: tuple[str, ...]
    allow_insecure_http: bool
    allow_private_hosts: bool
    metrics_token: str
    heartbeat_url: str
    sentry_dsn: str
    worker_memory_mb: int = 128
    alert_channels: Mapping[str, str] = field(default_factory=dict)
    alert_language: str = "it"
    openai_rpm: int = 0
    prices_file: Path = ROOT / "app" / "prices.csv"
    extra: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Settings(data_dir={str(self.data_dir)!r})"

    @property
    def https(self) -> bool:
        return self.public_url.startswith("https://")

    @property
    def warnings(self) -> list[str]:
        """What is allowed but seldom meant, one line each; said at the start."""
        if self.https and not self.trusted_proxies:
            return ["PUBLIC_URL is https but TRUSTED_PROXIES=0: all people seem to come from the proxy's address, "
                    "and guesses of strangers slow down everybody's sign-in. Set TRUSTED_PROXIES=1 behind one proxy."]
        return []

    @property
    def prefix(self) -> str:
        """The path of PUBLIC_URL, like "/jobs"; "" at the root of a host."""
        return urlsplit(self.public_url).path

    def cookie(self, name: str) -> dict[str, object]:
        """Name and attributes of a cookie; below a path it is called `__Secure-`, as `__Host-` demands the path /."""
        guard = "" if not self.https else "__Secure-" if self.prefix else "__Host-"
        common = {"secure": self.https, "httponly": True, "samesite": "Lax"}
        return {"key": guard + name, "path": self.prefix or "/", **common}

    @property
    def sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")

    @property
    def database_file(self) -> Path:
        """Path of the SQLite database (only meaningful when `sqlite`)."""
        return Path(self.database_url.removeprefix("sqlite:///").split("?")[0])

    def key(self, label: str, secret: str | None = None) -> str:
        """A key for one purpose, derived by HMAC-SHA256 from SECRET_KEY."""
        return hmac.new((secret or self.secret_key).encode(), label.encode(), hashlib.sha256).hexdigest()

    def keys(self, label: str) -> list[str]:
        """Current key first, then those of SECRET_KEY_FALLBACKS."""
        return [self.key(label, s) for s in (self.secret_key, *self.secret_key_fallbacks)]


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    get = _reader(environ)
    data_dir = Path(get("DATA_DIR", str(ROOT / "instance"))).expanduser().absolute()
    host, port = get("HOST", "127.0.0.1"), _integer(get, "PORT", 8000, 1, 65535)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else bracketed(host)  # noqa: S104
    address = _public_url(get("PUBLIC_URL", f"http://{shown}:{port}"))
    insecure = _flag(get, "ALLOW_INSECURE_HTTP")
    if address.startswith("http://") and not is_loopback(host) and not insecure:
        raise SettingError(
            f"HOST={host} is reachable from outside but PUBLIC_URL is not https: "
            "set PUBLIC_URL=https://..., or ALLOW_INSECURE_HTTP=1 to accept the risk"
        )
    database_url = _database_url(get("DATABASE_URL", ""), data_dir)
    return Settings(
        data_dir=data_dir,
        host=host,
        port=port,
        public_url=address,
        trusted_proxies=_integer(get, "TRUSTED_PROXIES", 0, 0, 10),
        database_url=database_url,
        queue_url=_queue_url(get("QUEUE_URL", "")),
        workers=_integer(get, "WORKERS", 3, 1, 64),
        worker_queues=parse_queues(get("WORKER_QUEUES", ",".join(QUEUES)), "WORKER_QUEUES"),
        grace=_integer(get, "GRACE", 60, 1, 86400),
        timezone=_timezone(get("APP_TIMEZONE", "Europe/Rome")),
        job_modules=_modules(get("JOB_MODULES", "")),
        upload_max_mb=_integer(get, "UPLOAD_MAX_MB", 100, 1, 10_000),
        secret_key=_secret(get("SECRET_KEY", ""), data_dir),
        secret_key_fallbacks=_fallbacks(get("SECRET_KEY_FALLBACKS", "")),
        allow_insecure_http=insecure,
        allow_private_hosts=_flag(get, "ALLOW_PRIVATE_HOSTS"),
        metrics_token=_token(get("METRICS_TOKEN", "")),
        heartbeat_url=_outside_url(get("HEARTBEAT_URL", ""), "HEARTBEAT_URL"),
        sentry_dsn=_outside_url(get("SENTRY_DSN", ""), "SENTRY_DSN"),
        alert_channels=_channels(get("ALERT_URLS", "")),
        alert_language=_language(get("ALERT_LANGUAGE", "it")),
        openai_rpm=_integer(get, "OPENAI_RPM", 0, 0, 1_000_000),
        prices_file=_file(get("PRICES_FILE", str(ROOT / "app" / "prices.csv")), "PRICES_FILE"),
        worker_memory_mb=_integer(get, "WORKER_MEMORY_MB", 128, 16, 1_000_000),
    )


def parse_queues(text: str, name: str = "queue") -> tuple[str, ...]:
    """Names of queues separated by commas, in the fixed order high, default, low."""
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in wanted if part not in QUEUES]
    if unknown or not wanted:
        raise SettingError(f"{name}: unknown queue {', '.join(unknown) or '(none)'}; use {', '.join(QUEUES)}")
    return tuple(q for q in QUEUES if q in wanted)


def _reader(environ):
    def get(name: str, default: str) -> str:
        value = environ.get(name, "").strip()
        if any(ord(c) < 32 for c in value) and name != "ALERT_URLS":
            raise SettingError(f"{name} has a line break or control character in it: write it on one line")
        return value or default

    return get


def _integer(get, name: str, default: int, low: int, high: int) -> int:
    text = get(name, str(default))
    if not re.fullmatch(r"\d{1,9}", text) or not low <= int(text) <= high:
        raise SettingError(f"{name}={text!r} must be a whole number from {low} to {high}")
    return int(text)


def _flag(get, name: str) -> bool:
    text = get(name, "0").lower()
    if text not in ("0", "1", "true", "false", "yes", "no"):
        raise SettingError(f"{name}={text!r} must be 1 or 0")
    return text in ("1", "true", "yes")


def _timezone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except Exception:
        raise SettingError(f"APP_TIMEZONE={name!r} is not a known zone; use one like Europe/Rome") from None


def _modules(text: str) -> tuple[str, ...]:
    names = tuple(part for part in re.split(r"[,\s]+", text) if part)
    for name in names:
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
            raise SettingError(f"JOB_MODULES: {name!r} is not the dotted name of a Python module")
    return names


def _public_url(url: str) -> str:
    found = public_url(url)
    if found is None:
        given = "PUBLIC_URL" if "@" in url else f"PUBLIC_URL={url!r}"  # a password would stand before the @
        raise SettingError(f"{given} must be like https://jobs.example.org or https://example.org/jobs")
    return found


def _database_url(url: str, data_dir: Path) -> str:
    if not url:
        return f"sqlite:///{data_dir / 'ainstein.sqlite3'}"
    if url.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
        return "postgresql+psycopg://" + url.split("://", 1)[1]
    if url.startswith("sqlite:///") and url.removeprefix("sqlite:///").strip() not in ("", ":memory:"):
        path = Path(url.removeprefix("sqlite:///")).expanduser().absolute()
        if not path.parent.is_dir() and path.parent != data_dir:
            raise SettingError(f"DATABASE_URL: there is no folder {str(path.parent)!r}")
        return f"sqlite:///{path}"
    raise SettingError("DATABASE_URL must be sqlite:///path or postgresql://user:password@host/name")


def _queue_url(url: str) -> str:
    if url and not url.startswith(("sqlite:", "redis://", "rediss://", "postgresql://", "postgres://")):
        raise SettingError("QUEUE_URL must be sqlite:, redis://host/0 or postgresql://user:password@host/name")
    if url.startswith("sqlite:") and (path := url.removeprefix("sqlite:").removeprefix("///")).strip("/") and not Path(path).parent.is_dir():
        raise SettingError(f"QUEUE_URL: there is no folder {str(Path(path).parent)!r}")
    if url.startswith(("redis", "postgres")) and not urlsplit(url).hostname:
        raise SettingError("QUEUE_URL must name a host, like redis://127.0.0.1:6379/0")
    return url or "sqlite:"


def _token(text: str) -> str:
    if text and (len(text) < 16 or not text.isascii() or any(c.isspace() for c in text)):
        raise SettingError("METRICS_TOKEN must have at least 16 characters, without blanks or accents")
    return text


def _outside_url(url: str, name: str) -> str:
    try:
        good = not url or (urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname) and not re.search(r"\s", url))
    except ValueError:
        good = False
    if not good:
        raise SettingError(f"{name} must be an http or https address")
    return url


def _channels(text: str) -> dict[str, str]:
    """`name=url` parts, one a line or separated by blanks, by name."""
    found: dict[str, str] = {}
    for part in text.split():
        name, equals, url = part.partition("=")
        if not (equals and re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", name) and re.match(r"[A-Za-z0-9+.-]+://[^/?#]", url)):
            raise SettingError(f"ALERT_URLS: part {len(found) + 1} is not like name=scheme://...; separate channels by blanks or line breaks")
        if name in found:
            raise SettingError(f"ALERT_URLS names the channel {name} twice")
        found[name] = url
    return found


def _file(text: str, name: str) -> Path:
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise SettingError(f"{name}: there is no file {str(path)!r}")
    return path


def _language(text: str) -> str:
    if text not in ("it", "en"):
        raise SettingError(f"ALERT_LANGUAGE={text!r} must be it or en")
    return text


def _fallbacks(text: str) -> tuple[str, ...]:
    if any(len(key) < 16 for key in text.split()):
        raise SettingError("SECRET_KEY_FALLBACKS has a key that is too short: each has at least 16 characters, blanks between them")
    return tuple(text.split())


def _secret(given: str, data_dir: Path) -> str:
    """SECRET_KEY, or one generated once into DATA_DIR/secret-key (0600)."""
    if given:
        if len(given) < 16:
            raise SettingError("SECRET_KEY is too short: use at least 16 characters, or leave it out")
        return given
    path = data_dir / "secret-key"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = data_dir / f".secret-key-{os.getpid()}-{secrets.token_hex(4)}"
        if not path.exists():
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(secrets.token_urlsafe(48))
            try:
                os.link(temporary, path)  # fails if another process was first: its key counts
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        return path.read_text().strip()
    except OSError as error:
        raise SettingError(f"DATA_DIR={str(data_dir)!r} cannot be used: {error.strerror}") from None
