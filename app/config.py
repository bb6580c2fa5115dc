"""Settings: read once from the environment and validated. Each error names the variable.

`SETTINGS` is the table of all variables: the fields of `Settings`, and variables that only other programs read. The
start scripts read from it which program may know which variable; tests compare README.md and .env.example with it. This
module uses only the standard library, because the start scripts load it before any package is installed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from app.addresses import SettingError, channels, database_url, http_url, queue_url, site_address
from app.addresses.mail import sender, smtp_url
from app.kept_key import kept_key

QUEUES = ("high", "default", "low")
ROOT = Path(__file__).resolve().parent.parent


# ---- parsers: each takes the name of a variable and its text, and raises SettingError ----------------------------


def plain(name: str, text: str) -> str:
    """The text itself."""
    return text


def whole(low: int, high: int) -> Callable[[str, str], int]:
    """A parser of a whole number from `low` to `high`, in at most 9 digits."""

    def read(name: str, text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or not low <= int(text) <= high:
            raise SettingError(f"{name}={text!r} must be a whole number from {low} to {high}")
        return int(text)

    return read


def flag(name: str, text: str) -> bool:
    """1, true or yes as True; 0, false or no as False."""
    if text.lower() not in ("0", "1", "true", "false", "yes", "no"):
        raise SettingError(f"{name}={text.lower()!r} must be 1 or 0")
    return text.lower() in ("1", "true", "yes")


def choice(*known: str) -> Callable[[str, str], str]:
    """A parser of one of the `known` texts."""

    def read(name: str, text: str) -> str:
        if text not in known:
            raise SettingError(f"{name}={text!r} must be {' or '.join(known)}")
        return text

    return read


def timezone(name: str, text: str) -> ZoneInfo:
    """A zone of the IANA database, like Europe/Rome."""
    try:
        return ZoneInfo(text)
    except Exception:
        raise SettingError(f"{name}={text!r} is not a known zone; use one like Europe/Rome") from None


def queues(name: str, text: str) -> tuple[str, ...]:
    """Names of queues separated by commas, returned in the order high, default, low."""
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in wanted if part not in QUEUES]
    if unknown or not wanted:
        raise SettingError(f"{name}: unknown queue {', '.join(unknown) or '(none)'}; use {', '.join(QUEUES)}")
    return tuple(q for q in QUEUES if q in wanted)


def modules(name: str, text: str) -> tuple[str, ...]:
    """Dotted names of Python modules, separated by commas or blanks."""
    names = tuple(part for part in re.split(r"[,\s]+", text) if part)
    for part in names:
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", part):
            raise SettingError(f"{name}: {part!r} is not the dotted name of a Python module")
    return names


def token(name: str, text: str) -> str:
    """"" or at least 16 ASCII characters without blanks."""
    if text and (len(text) < 16 or not text.isascii() or any(c.isspace() for c in text)):
        raise SettingError(f"{name} must have at least 16 characters, without blanks or accents")
    return text


def secret_key(name: str, text: str) -> str:
    """"" or at least 16 characters."""
    if text and len(text) < 16:
        raise SettingError(f"{name} is too short: use at least 16 characters, or leave it out")
    return text


def secret_keys(name: str, text: str) -> tuple[str, ...]:
    """Keys of at least 16 characters, separated by blanks."""
    if any(len(key) < 16 for key in text.split()):
        raise SettingError(f"{name} has a key that is too short: each has at least 16 characters, blanks between them")
    return tuple(text.split())


def folder(name: str, text: str) -> Path:
    """An absolute path; `~` is the home folder."""
    return Path(text).expanduser().absolute()


def existing_file(name: str, text: str) -> Path:
    """The absolute path of a file that exists."""
    if not (path := folder(name, text)).is_file():
        raise SettingError(f"{name}: there is no file {str(path)!r}")
    return path


# ---- the table ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One variable. `words` is its description in README.md; a variable without one is accepted but not documented.

    `reach` is who may know the value. "all": every program, and commands on a running instance; "address": the same
    when it contains no password; "programs": web, monitor and workers; "web", "monitor", "workers": that one; "start":
    none of them.
    """

    default: str
    parse: Callable[[str, str], Any]
    words: str = ""
    reach: str = "all"
    computed: str = ""  # what README.md says in place of a fixed default
    name: str = ""  # name of the variable; without it the name of the field in capitals

    def read(self, environ: Mapping[str, str]) -> Any:
        """The parsed value, or the parsed default for a variable that is not set. Raises SettingError."""
        value = environ.get(self.name, "").strip()
        if any(ord(c) < 32 for c in value) and self.parse is not channels:
            raise SettingError(f"{self.name} has a line break or control character in it: write it on one line")
        return self.parse(self.name, value or self.default)


def row(*given: Any, **more: Any) -> Any:
    """A field of `Settings` with its `Setting`."""
    return field(metadata={"setting": Setting(*given, **more)})


@dataclass(frozen=True, repr=False)
class Settings:
    """The values of all settings. `repr` shows only DATA_DIR, so it shows no secret."""

    data_dir: Path = row(str(ROOT / "instance"), folder, "database, uploads, logs, keys; only its owner can read it",
                         "programs")
    host: str = row("127.0.0.1", plain, "the address on which the site listens")
    port: int = row("8000", whole(1, 65535), "the port on which the site listens")
    public_url: str = row("", plain, "the address that people use, with a path if the site lies below one; it decides "
                          "links, cookies and hosts", computed="from `HOST` and `PORT`")
    trusted_proxies: int = row("0", whole(0, 10), "how many proxies set `X-Forwarded-*`; with 0 behind a proxy all "
                               "people share its address, which the start says")
    allow_insecure_http: bool = row("0", flag, "1 accepts a `HOST` that others reach without https")
    database_url: str = row("", plain, "or `postgresql://user:password@host/name`", "address", "SQLite in `DATA_DIR`")
    queue_url: str = row("", queue_url, "tickets; or `redis://host/0`, `postgresql://...`. While the store is away, "
                         "jobs run without it, a little later", "address", "SQLite in `DATA_DIR`")
    workers: int = row("3", whole(1, 64), "how many worker processes")
    workers_min: int = row("0", whole(0, 64), "autoscaling: the fewest workers; 0: as many as `WORKERS`")
    workers_max: int = row("0", whole(0, 64), "autoscaling: the most workers; 0: as many as `WORKERS`")
    workers_clear_min: int = row("0", whole(0, 1440), "autoscaling: minutes in which what waits should have begun")
    worker_queues: tuple[str, ...] = row(",".join(QUEUES), queues, "the queues that the workers serve")
    worker_memory_mb: int = row("128", whole(16, 1_000_000), "a worker that grew by more is replaced between two jobs")
    group_size: int = row("32", whole(1, 256), "most short jobs that a worker claims together; 1: each by itself")
    grace: int = row("60", whole(1, 86400), "seconds that running jobs get at a stop; servers: longest timeout + 30")
    secret_key: str = row("", secret_key, "sessions, forms and tickets", "programs", "generated into `DATA_DIR`")
    secret_key_fallbacks: tuple[str, ...] = row("", secret_keys, "earlier keys while you change it, blanks between",
                                                "programs")
    timezone: ZoneInfo = row("Europe/Rome", timezone, 'what "today" is, and the times that people read',
                             name="APP_TIMEZONE")
    job_modules: tuple[str, ...] = row("", modules, "modules with your `@job` functions, separated by commas")
    upload_max_mb: int = row("100", whole(1, 10_000), "the largest file")
    allow_private_hosts: bool = row("0", flag, "1 lets connections of tenants use addresses of internal networks, and "
                                    "http without TLS")
    alert_channels: Mapping[str, str] = row(
        "", channels, "who is told when a rule is broken: `name=address` parts, blanks between, any of "
        "[Apprise](https://appriseit.com)'s services", "monitor", name="ALERT_URLS")
    alert_language: str = row("it", choice("it", "en"), "the language of alerts: `it` or `en`")
    smtp_url: str = row("", smtp_url, "the mail server of reports and notices: `smtp://user:password@host:587` "
                        "(STARTTLS, unless `?tls=off`) or `smtps://host:465`; signs in the password are "
                        "percent-encoded", "monitor")
    report_from: tuple[str, str] = row("", sender, "the sender of mails: `reports@example.org` or "
                                       "`Reports <reports@example.org>`", computed="the user of `SMTP_URL`")
    openai_rpm: int = row("0", whole(0, 1_000_000), "requests a minute, for all workers together; 0: no limit of ours")
    prices_file: Path = row(str(ROOT / "app" / "prices.csv"), existing_file,
                            "model, currency, input, cached, output (a million tokens each), valid_from")
    metrics_token: str = row("", token, "opens `/metrics` to Prometheus with `Authorization: Bearer ...` "
                             "(`deploy/grafana-dashboard.json` draws it)", "web")
    heartbeat_url: str = row("", http_url, "the monitor asks for this address each minute: whoever watches it "
                             "learns when the box dies", "monitor")
    sentry_dsn: str = row("", http_url, "errors and failed attempts to Sentry: job uuid, type, tenant as tags; no "
                          "arguments, no local variables", "programs")

    def __repr__(self) -> str:
        return f"Settings(data_dir={str(self.data_dir)!r})"

    @property
    def https(self) -> bool:
        """Whether people reach the site by https."""
        return self.public_url.startswith("https://")

    @property
    def autoscaling(self) -> bool:
        """Whether the number of workers follows the load."""
        return self.workers_min < self.workers_max

    @property
    def warnings(self) -> list[str]:
        """One line for each setting that is valid but probably a mistake; they are shown at the start."""
        if self.https and not self.trusted_proxies:
            return ["PUBLIC_URL is https but TRUSTED_PROXIES=0: all people seem to come from the proxy's address, "
                    "and guesses of strangers slow down everybody's sign-in. Set TRUSTED_PROXIES=1 behind one proxy."]
        return []

    @property
    def prefix(self) -> str:
        """The path of PUBLIC_URL, like "/jobs"; "" when the site is at the root of its host."""
        return urlsplit(self.public_url).path

    def cookie(self, name: str) -> dict[str, object]:
        """Name and attributes of a cookie, for `set_cookie`. The prefix is `__Secure-` when the site has a path,
        because `__Host-` requires the path `/`."""
        key = name if not self.https else ("__Secure-" if self.prefix else "__Host-") + name
        return {"key": key, "path": self.prefix or "/", "secure": self.https, "httponly": True, "samesite": "Lax"}

    @property
    def sqlite(self) -> bool:
        """Whether the database is SQLite, not PostgreSQL."""
        return self.database_url.startswith("sqlite")

    @property
    def database_file(self) -> Path:
        """The path of the SQLite database; meaningless for PostgreSQL."""
        return Path(self.database_url.removeprefix("sqlite:///").split("?")[0])

    def key(self, label: str, secret: str | None = None) -> str:
        """A key for one purpose (`label`), 64 hex digits, derived by HMAC-SHA256 from `secret` or SECRET_KEY."""
        return hmac.new((secret or self.secret_key).encode(), label.encode(), hashlib.sha256).hexdigest()

    def keys(self, label: str) -> list[str]:
        """The keys for one purpose: the current one first, then those from SECRET_KEY_FALLBACKS."""
        return [self.key(label, s) for s in (self.secret_key, *self.secret_key_fallbacks)]


FIELDS = {f.name: replace(f.metadata["setting"], name=f.metadata["setting"].name or f.name.upper())
          for f in fields(Settings)}
SETTINGS = (
    *FIELDS.values(),
    Setting("admin@localhost", plain, "the first super-admin, made when there is no user", "start", "", "ADMIN_EMAIL"),
    Setting("", plain, "the password of the first super-admin", "start", "generated, shown once", "ADMIN_PASSWORD"),
    Setting("", plain, "for the workers only; in no argument, log, page or export", "workers", "", "OPENAI_API_KEY"),
    Setting("", plain, "the address of an API like OpenAI's", "programs", "the SDK's own", "OPENAI_BASE_URL"),
    Setting("", plain, "`json` (one object a line, with the job it was written in) or `text`", "programs",
            "by terminal", "LOG_FORMAT"),
    Setting("", plain, "names the code of the workers: 40 characters", "programs", "from `.git`", "CODE_REVISION"),
)


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings from an environment. Raises SettingError, whose text is one line that names the variable."""
    found = {name: setting.read(environ) for name, setting in FIELDS.items()}
    http_url("OPENAI_BASE_URL", environ.get("OPENAI_BASE_URL", "").strip())
    found["public_url"] = site_address(*map(found.get, ("public_url", "host", "port", "allow_insecure_http")))
    for low, high in ("workers_min", "workers_max"), ("workers_min", "workers"), ("workers", "workers_max"):
        if found[low] > found[high] > 0:
            raise SettingError(f"{low.upper()}={found[low]} must not be above {high.upper()}={found[high]}")
    found |= {name: found[name] or found["workers"] for name in ("workers_min", "workers_max")}
    if not found["report_from"][1]:
        found["report_from"] = sender("REPORT_FROM", "", found["smtp_url"])
    found["database_url"] = database_url(found["database_url"], data_dir := found["data_dir"])
    found["secret_key"] = found["secret_key"] or kept_key(data_dir / "secret-key", secrets.token_urlsafe(48))
    return Settings(**found)
