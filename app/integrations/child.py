"""Runs a module in a process of its own that is killed when it takes too long: `python -m MODULE` < JSON > JSON.

What is given goes through stdin, so no argument list shows an address or a password. The answer is
{"ok": bool, "why": text, "why_json": a Message's JSON or null, "doubtful": bool, ...}; a process that gives none may
have done its work, so that is doubtful.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from app.config import ROOT
from app.support.messages import Message, cleaned, from_row
from app.support.redaction import one_line, redact

# What a process gets that speaks to the network; all else it needs comes through stdin, so no secret is inherited.
PASSED_ON = frozenset("""PATH HOME LANG LANGUAGE TZ TZDIR TMPDIR LD_LIBRARY_PATH SSL_CERT_FILE SSL_CERT_DIR
 REQUESTS_CA_BUNDLE CURL_CA_BUNDLE HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy
 RES_OPTIONS LOCALDOMAIN HOSTALIASES PYTHONPATH PYTHONHOME PYTHONUTF8 PYTHONIOENCODING PYTHONDONTWRITEBYTECODE
 PYTHONPYCACHEPREFIX VIRTUAL_ENV""".split())


def ask(module: str, given: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The answer of a module, whose `why` is one line without secrets: '' when all went well."""
    environ = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith("LC_")}
    try:
        done = subprocess.run([sys.executable, "-m", module], input=json.dumps(given), capture_output=True, text=True,
                              timeout=seconds, cwd=ROOT, env=environ)
        answer = json.loads(done.stdout)
        why = cleaned(from_row(answer["why"], answer.get("why_json")) or "", lambda text: one_line(redact(text), 300))
        return answer | {"why": "" if answer["ok"] else why, "doubtful": bool(answer["doubtful"])}
    except subprocess.TimeoutExpired:
        return {"ok": False, "why": Message("no answer within %(n)s s", n=f"{seconds:.0f}"), "doubtful": True}
    except (OSError, ValueError, LookupError, TypeError) as error:
        why = Message("the sending broke off (%(why)s)", why=type(error).__name__)
        return {"ok": False, "why": why, "doubtful": True}
