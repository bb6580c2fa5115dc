"""What thousands of tests do alike and none of them is about, done for less. Only in the process of the tests.

`ROUTES`: werkzeug writes and compiles two functions for each of 170 rules: nine tenths of `create_app`. They depend on the rule alone.
`Templates`: each test has an application of its own, and each compiled its templates anew: a fifth of a second for the form of the sign-in.
`HASH`: a hash costs 16 MB and 0.1 s, twice in each test that signs in. `tests/services/people/test_passwords.py` tests the product's own.
"""

from __future__ import annotations

from flask import Flask
from jinja2.bccache import Bucket, BytecodeCache
from werkzeug.routing import Rule

from app.services.people import passwords

HASH = "scrypt:1024:1:1"  # with less OpenSSL refuses for want of memory
ROUTES: dict[tuple, object] = {}
usual_hash, _compile = passwords.generate_password_hash, Rule._compile_builder


def _compiled(rule: Rule, append_unknown: bool = True):
    key = rule.rule, repr(rule.defaults), tuple(rule._trace), append_unknown
    if key not in ROUTES:
        ROUTES[key] = _compile(rule, append_unknown)
    return ROUTES[key]


class Templates(BytecodeCache):
    """Compiled templates by name and path; jinja compares the checksum of the source."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.kept:
            bucket.bytecode_from_string(self.kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.kept[bucket.key] = bucket.bytecode_to_string()


def cheaper() -> None:
    """From now on."""
    Flask.jinja_options = Flask.jinja_options | {"bytecode_cache": Templates()}
    Rule._compile_builder = _compiled
    passwords.generate_password_hash = lambda password, method: usual_hash(password, method=HASH)
