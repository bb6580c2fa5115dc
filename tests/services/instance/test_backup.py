"""Backup and restore on each database: what was there comes back, reservations cleared, queues paused."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import tarfile

import psycopg
import pytest
from sqlalchemy.engine import make_url

from app import create_app
from app.config import load_settings
from app.extensions import db
from app.integrations.service_errors import Refused
from app.services.content import connection_keys, connection_pages, connections
from app.services.instance import backup, migration, restore
from app.services.jobs import queues


def test_what_was_packed_comes_back_paused(ledger, tmp_path):
    waiting, running = ledger.dispatch(queue="low"), ledger.dispatch(queue="high")
    assert ledger.claim().uuid == running
    settings = ledger.app.extensions["settings"]
    manifest = backup.backup(settings, tmp_path / "b.tar.gz")
    assert manifest["revision"] and manifest["keys"] is False
    later = ledger.dispatch()
    ledger.connection.close()
    with ledger.app.app_context():
        db.session.remove()
        db.engine.dispose()
        restore.restore(settings, tmp_path / "b.tar.gz")
        assert {r[0] for r in ledger.connection.fetch_all("SELECT uuid FROM jobs")} == {waiting, running} != {later}
        assert ledger.row(running).state == "pending" and ledger.row(running).attempts == 0
        assert ledger.claim("w2") is None
        assert "high" in queues.resume_all("ada")
        assert ledger.claim("w3").uuid == running
        with pytest.raises(restore.CannotRestore):
            restore.restore(settings, tmp_path / "nothing.tar.gz")


def test_a_ledger_that_is_not_what_its_manifest_says_is_refused_and_nothing_is_changed(ledger, tmp_path):
    uuid = ledger.dispatch()
    settings = ledger.app.extensions["settings"]
    backup.backup(settings, tmp_path / "b.tar.gz")
    with tarfile.open(tmp_path / "b.tar.gz") as tar:
        parts = {name: tar.extractfile(name).read() for name in tar.getnames()}
    manifest = json.loads(parts.pop("manifest.json"))
    name, content = manifest["ledger"], parts[manifest["ledger"]]
    ledger.dispatch()
    ledger.connection.close()
    (settings.data_dir / "uploads").mkdir(exist_ok=True)
    (settings.data_dir / "uploads" / "kept").touch()
    with ledger.app.app_context():
        db.session.remove()
        db.engine.dispose()
        for revision, changed in (("0001", content), (manifest["revision"], b"no ledger at all"), (manifest["revision"], content[:400] + b"x" * 5000)):
            made = manifest | {"revision": revision, "files": {name: hashlib.sha256(changed).hexdigest()}, "sizes": {name: len(changed)}}
            with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
                for member, data in (("manifest.json", json.dumps(made).encode()), (name, changed)):
                    info = tarfile.TarInfo(member)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
            with pytest.raises(restore.CannotRestore):
                restore.restore(settings, tmp_path / "x.tar.gz")
            assert ledger.one("SELECT COUNT(*) FROM jobs") == 2 and ledger.one("SELECT COUNT(*) FROM queues WHERE paused_at IS NOT NULL") == 0
            assert (settings.data_dir / "uploads" / "kept").exists() and not list((settings.data_dir / "backups").glob("before-restore*"))
            ledger.connection.close()
        restore.restore(settings, tmp_path / "b.tar.gz")
    assert [r[0] for r in ledger.connection.fetch_all("SELECT uuid FROM jobs")] == [uuid]


def connect(ledger, tenant: str) -> None:
    with ledger.app.app_context():
        connection_pages.save(tenant, "openai", "", "", f"sk-canary-{tenant}", {}, "ada", ledger.app.extensions["settings"])


def secret(ledger, tenant: str) -> str:
    return connections.account(ledger.connection, ledger.app.extensions["settings"], tenant, "openai").secret


def test_secrets_of_connections_are_read_again_only_with_the_keys(ledger, tmp_path):
    settings = ledger.app.extensions["settings"]
    connect(ledger, "acme")
    backup.backup(settings, tmp_path / "without.tar.gz")
    backup.backup(settings, tmp_path / "with.tar.gz", with_keys=True)
    for name in ("without", "with"):
        with tarfile.open(tmp_path / f"{name}.tar.gz") as tar:
            parts = {member: tar.extractfile(member).read() for member in tar.getnames()}
        assert ("connections-key" in parts) == (name == "with") and not any(b"sk-canary" in content for content in parts.values())
    with ledger.app.app_context():
        connection_keys.rekey("ada", settings)
    connect(ledger, "later")
    ledger.connection.close()
    with ledger.app.app_context():
        db.session.remove()
        db.engine.dispose()
        restore.restore(settings, tmp_path / "without.tar.gz")
    with pytest.raises(Refused) as caught:
        secret(ledger, "acme")
    assert "enter it again" in str(caught.value)
    ledger.connection.close()
    with ledger.app.app_context():
        restore.restore(settings, tmp_path / "with.tar.gz")
    assert secret(ledger, "acme") == "sk-canary-acme" and (settings.data_dir / "connections-key").stat().st_mode & 0o777 == 0o600
    aside = sorted((settings.data_dir / "backups").glob("before-restore-*"))
    assert (aside[-1] / "connections-key").exists(), "what was there before is kept"


def test_a_backup_while_the_keys_change_can_be_read(ledger, tmp_path, monkeypatch):
    settings, dump = ledger.app.extensions["settings"], backup._dump
    connect(ledger, "acme")
    for when in ("before", "after"):
        def rekeyed(*given, when=when):
            with ledger.app.app_context():
                if when == "before":
                    connection_keys.rekey("ada", settings)
                found = dump(*given)
                if when == "after":
                    connection_keys.rekey("ada", settings)
                db.session.remove()
                db.engine.dispose()
            return found

        monkeypatch.setattr(backup, "_dump", rekeyed)
        backup.backup(settings, tmp_path / f"{when}.tar.gz", with_keys=True)
        ledger.connection.close()
        with ledger.app.app_context():
            restore.restore(settings, tmp_path / f"{when}.tar.gz")
        assert secret(ledger, "acme") == "sk-canary-acme"


def test_an_archive_whose_keys_are_none_is_refused(ledger, tmp_path):
    settings = ledger.app.extensions["settings"]
    connect(ledger, "acme")
    (settings.data_dir / "connections-key").write_text("nonsense")
    backup.backup(settings, tmp_path / "b.tar.gz", with_keys=True)
    ledger.connection.close()
    with ledger.app.app_context(), pytest.raises(restore.CannotRestore) as caught:
        db.session.remove()
        db.engine.dispose()
        restore.restore(settings, tmp_path / "b.tar.gz")
    assert "connections-key" in str(caught.value)


def test_a_restore_leaves_an_extension_of_another_role_alone(postgres_url, tmp_path):
    """As on managed servers: an administrator has made pg_trgm, or the role may not make it."""
    def connect_to(url):
        return psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True)

    url, name = make_url(postgres_url), f"other_{secrets.token_hex(4)}"
    role = url.set(database=name, username=name, password="x")
    indexes = "SELECT COUNT(*) FROM pg_indexes WHERE indexname = 'job_texts_trigram_idx'"
    with connect_to(url) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
        admin.execute(f"CREATE DATABASE {name}")
        try:
            with connect_to(url.set(database=name)) as connection:
                connection.execute("CREATE EXTENSION pg_trgm")
                connection.execute(f"ALTER SCHEMA public OWNER TO {name}")
                settings = load_settings({"DATA_DIR": str(tmp_path), "DATABASE_URL": role.render_as_string(hide_password=False)})
                app = create_app(settings)
                with app.app_context():
                    migration.prepare(settings)
                    db.session.remove()
                    db.engine.dispose()
                backup.backup(settings, tmp_path / "b.tar.gz")
                for there in (1, 0):  # then on a server that has no pg_trgm
                    restore.restore(settings, tmp_path / "b.tar.gz")
                    assert connection.execute(indexes).fetchone()[0] == there
                    assert connection.execute("SELECT COUNT(*) FROM queues WHERE paused_at IS NOT NULL").fetchone()[0]
                    connection.execute("DROP EXTENSION IF EXISTS pg_trgm CASCADE")
                connection.execute(f"GRANT CREATE ON DATABASE {name} TO {name}")
                restore.restore(settings, tmp_path / "b.tar.gz")
                assert connection.execute(indexes).fetchone()[0] == 1, "the role may make it"
        finally:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            admin.execute(f"DROP ROLE IF EXISTS {name}")
