"""Archives that somebody else has made, and places where a backup may not go."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from app.config import load_settings
from app.extensions import db
from app.ledger.dialect import Connection
from app.services.instance import archive, backup, restore, retention, schema
from app.services.jobs import uploads
from tests.process.product import ROOT

UP = "uploads/up_" + "a" * 32


@pytest.fixture
def settings(context):
    db.session.remove()
    db.engine.dispose()
    return context.extensions["settings"]


@pytest.fixture
def parts(settings, tmp_path):
    """The files of a good backup by name, and its manifest."""
    (settings.data_dir / "uploads").mkdir()
    (settings.data_dir / UP).write_text("reference,title,body\n")
    backup.backup(settings, tmp_path / "good.tar.gz", with_keys=True)
    with tarfile.open(tmp_path / "good.tar.gz") as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}


def entry(name: str, content: bytes = b"", **changes) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in changes.items():
        setattr(member, key, value)
    return member, content


def pack(path: Path, *entries, format=tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=format) as tar:
        for member, content in entries:
            tar.addfile(member, io.BytesIO(content))
    return path


def repack(path: Path, parts: dict, manifest: dict | None = None, last: bool = False, **changes) -> Path:
    """A backup with some files changed and a manifest that fits them."""
    parts = parts | changes
    made = json.loads(parts.pop("manifest.json"))
    made |= {"files": {n: hashlib.sha256(c).hexdigest() for n, c in parts.items()}, "sizes": {n: len(c) for n, c in parts.items()}} | (manifest or {})
    rest = [entry(n, c) for n, c in parts.items()]
    first = [entry("manifest.json", json.dumps(made).encode())]
    return pack(path, *(rest + first if last else first + rest))


def state(folder: Path) -> dict[str, str]:
    """Every file below a folder with its sum, but the lock's."""
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*"))
            if p.is_file() and p.name != "lock" and not p.is_symlink()}


@pytest.fixture
def refused(settings, tmp_path):
    """Restore is refused, with nothing changed in DATA_DIR or beside it; returns the sentence."""
    def check(path: Path) -> str:
        before = state(settings.data_dir.parent)
        with pytest.raises(restore.CannotRestore) as error:
            restore.restore(settings, path)
        assert state(settings.data_dir.parent) == before
        assert not list(settings.data_dir.glob("restore-*"))
        return str(error.value)
    return check


def test_what_is_in_a_backup_and_in_which_order(settings, parts, tmp_path):
    assert list(parts) == ["manifest.json", "ledger.sqlite3", UP, "secret-key"]
    manifest = json.loads(parts["manifest.json"])
    assert manifest["sizes"] == {n: len(c) for n, c in parts.items() if n != "manifest.json"} and manifest["revision"] == schema.HEAD
    (settings.data_dir / UP).unlink()
    (settings.data_dir / "secret-key").write_text("another key of 30 characters..")
    restore.restore(settings, tmp_path / "good.tar.gz")
    for name in (UP, "secret-key", "ainstein.sqlite3"):
        assert oct((settings.data_dir / name).stat().st_mode)[-3:] == "600", name
    assert (settings.data_dir / "secret-key").read_bytes() == parts["secret-key"]
    aside = next((settings.data_dir / "backups").glob("before-restore-*"))
    assert (aside / "secret-key").read_text().startswith("another key") and (aside / "ainstein.sqlite3").exists()


def test_an_archive_of_an_earlier_version_with_its_manifest_last_is_restored(settings, parts, tmp_path):
    with tarfile.open(tmp_path / "old.tar.gz", "w:gz") as tar:  # as earlier versions wrote it: modes and times of the files, no sizes
        manifest = json.loads(parts["manifest.json"])
        del manifest["sizes"]
        for name, content in [*((n, c) for n, c in parts.items() if n != "manifest.json"), ("manifest.json", json.dumps(manifest, indent=1).encode())]:
            (tmp_path / "file").write_bytes(content)
            tar.add(tmp_path / "file", name)
    (settings.data_dir / UP).unlink()
    restore.restore(settings, tmp_path / "old.tar.gz")
    assert (settings.data_dir / UP).read_bytes() == parts[UP]


@pytest.mark.parametrize("member", [
    entry("../out", b"x"), entry("/tmp/out", b"x"), entry("uploads/../out", b"x"), entry("uploads/up_" + "A" * 32, b"x"), entry(UP + "\n", b"x"), entry(UP + "/x", b"x"),
    entry("./" + UP, b"x"), entry("other", b"x"), entry("lock", b""), entry("uploads", b"x"), entry("uploads", type=tarfile.SYMTYPE, linkname="/tmp"), entry("lock", type=tarfile.DIRTYPE), entry("logs/x", b"x"), entry("", b"x"), entry("ainstein.sqlite3", b"x"),
    entry(UP, type=tarfile.SYMTYPE, linkname="/etc"), entry(UP, type=tarfile.LNKTYPE, linkname="ledger.sqlite3"), entry(UP, type=tarfile.LNKTYPE, linkname="../../x"),
    entry(UP, type=tarfile.FIFOTYPE), entry(UP, type=tarfile.CHRTYPE, devmajor=1, devminor=3), entry(UP, type=tarfile.BLKTYPE), entry(UP, type=tarfile.DIRTYPE),
    entry(UP, type=tarfile.CONTTYPE), entry(UP, type=b"Z"), entry(UP, b"x", pax_headers={"path": "../../out"}), entry("x", b"x", pax_headers={"path": "/tmp/out"}),
    entry(UP, b"x", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "99999999999", "GNU.sparse.major": "0"}),
    entry(UP, b"x", pax_headers={"size": "-5"}), entry(UP, b"x", pax_headers={"size": "9" * 30}),
    entry("secret-key", b"k" * 5000), entry("ledger.sqlite3", b"twice"), entry("manifest.json", b"{}"), entry("ledger.pgdump", b"both"),
])
@pytest.mark.parametrize("place", [0, 1, 9])
def test_a_member_that_may_not_be_in_it_is_refused(refused, parts, tmp_path, member, place):
    manifest = json.loads(parts["manifest.json"])
    files = {n: c for n, c in parts.items() if n not in ("manifest.json", UP, "secret-key")}
    manifest |= {"files": {n: hashlib.sha256(c).hexdigest() for n, c in files.items()}, "sizes": {}}
    if member[0].name not in ("ledger.sqlite3", "manifest.json"):
        manifest["files"][member[0].name] = hashlib.sha256(member[1]).hexdigest()
    entries = [entry("manifest.json", json.dumps(manifest).encode()), *(entry(n, c) for n, c in files.items())]
    entries.insert(place, member)
    assert "no backup of this program" in refused(pack(tmp_path / "x.tar.gz", *entries))


@pytest.mark.parametrize("change", [
    {"ledger": "/etc/passwd"}, {"ledger": "../ainstein.sqlite3"}, {"ledger": UP}, {"ledger": 5}, {"ledger": None}, {"revision": "x"}, {"revision": "00001"}, {"revision": None},
    {"created": "\x1b[31mnow"}, {"created": 5}, {"files": []}, {"files": {}}, {"files": {"ledger.sqlite3": 5}}, {"sizes": []}, {"sizes": {"ledger.sqlite3": "x"}},
    {"sizes": {"ledger.sqlite3": 5}}, {"sizes": {UP: 5}}, {"files": {"ledger.sqlite3": "0" * 64}}, {"files": {"ledger.sqlite3": "0" * 64, "../x": "0" * 64}},
])
@pytest.mark.parametrize("last", [False, True])
def test_a_manifest_that_does_not_fit_is_refused(refused, parts, tmp_path, change, last):
    assert "no backup of this program" in refused(repack(tmp_path / "x.tar.gz", parts, change, last))


@pytest.mark.parametrize("raw", [b"", b"x", b"\x1f\x8b", b"[]", b"5", b"null", b"{", b'{"files": {}}', b"[" * 100_000, b"\xff\xfe"])
def test_a_manifest_that_is_none_is_refused(refused, parts, tmp_path, raw):
    refused(pack(tmp_path / "x.tar.gz", entry("manifest.json", raw), entry("ledger.sqlite3", parts["ledger.sqlite3"])))
    (tmp_path / "raw.tar.gz").write_bytes(raw)
    refused(tmp_path / "raw.tar.gz")
    (tmp_path / "zipped.tar.gz").write_bytes(gzip.compress(raw))
    refused(tmp_path / "zipped.tar.gz")


def zipped(path: Path, *blocks: bytes) -> Path:
    with gzip.open(path, "wb", 1) as out:
        for block in blocks:
            out.write(block)
    return path


def peak_of(settings, path: Path) -> tuple[int, str]:
    """MB that a restore by the command took at most, and what it said."""
    code = ("import sys; from app import create_app; from app.services.instance import backup, restore\napp = create_app()\n"
            "with app.app_context():\n try: restore.restore(app.extensions['settings'], __import__('pathlib').Path(sys.argv[1]))\n"
            " except restore.CannotRestore as e: \n"
            "  print(next(int(line.split()[1]) // 1024 for line in open('/proc/self/status') if line.startswith('VmHWM:')), e)")  # getrusage tells the parent's
    env = {"PATH": os.environ["PATH"], "DATA_DIR": str(settings.data_dir), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=env, cwd=ROOT, capture_output=True, text=True)
    number, _, said = done.stdout.partition(" ")
    return int(number), said or done.stderr


def test_bombs_cost_neither_disk_nor_memory(settings, refused, parts, tmp_path, monkeypatch):
    bombs = {
        "manifest": [tarfile.TarInfo("manifest.json"), 10**9], "undeclared": [tarfile.TarInfo(UP), 600 * 2**20],
        "huge": [tarfile.TarInfo(UP), 8 * 10**18], "pax": [tarfile.TarInfo("x"), 10**9], "longname": [tarfile.TarInfo("x"), 10**9],
    }
    bombs["pax"][0].type, bombs["longname"][0].type = tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME
    for name, (member, size) in bombs.items():
        member.size = size
        path = zipped(tmp_path / f"{name}.tar.gz", member.tobuf(tarfile.GNU_FORMAT), *[b"\0" * 2**20] * min(size // 2**20, 300))
        assert refused(path), name
        peak, said = peak_of(settings, path)
        assert peak < 200, (name, peak, said)
    chain = tarfile.TarInfo("x")
    chain.type, chain.size = tarfile.XHDTYPE, 0
    assert refused(zipped(tmp_path / "chain.tar.gz", chain.tobuf() * 20_000))
    assert refused(zipped(tmp_path / "names.tar.gz", *[b"x" * 2**20] * 50))
    long = b"\x1f\x8b\x08\x08\0\0\0\0\0\x03" + b"n" * 50_000_000  # a name in the gzip header that does not end
    (tmp_path / "header.tar.gz").write_bytes(long)
    assert refused(tmp_path / "header.tar.gz")
    monkeypatch.setattr(archive, "MOST_FILES", 1)
    assert "files are read" in refused(repack(tmp_path / "many.tar.gz", parts))


def test_what_does_not_fit_on_the_disk_is_refused_before_it_is_written(settings, parts, tmp_path):
    with archive.opened(repack(tmp_path / "x.tar.gz", parts)) as file:
        room = sum(len(c) for n, c in parts.items() if n != "manifest.json")
        assert archive.look_through(file, room).manifest["ledger"] == "ledger.sqlite3"
        with pytest.raises(archive.Damaged, match="more than fits"):
            archive.look_through(file, room - 1)


def test_a_pipe_a_device_a_folder_and_a_missing_file_are_refused(refused, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refused(tmp_path / "pipe")
    assert "no regular file" in refused(Path("/dev/zero"))
    refused(tmp_path), refused(tmp_path / "missing")


def test_one_that_is_cut_or_changed_anywhere_is_refused(refused, parts, tmp_path):
    raw = repack(tmp_path / "x.tar.gz", parts).read_bytes()
    for at in (*range(0, 2000, 97), len(raw) // 2, len(raw) - 4000):
        (tmp_path / "cut.tar.gz").write_bytes(raw[:at])
        refused(tmp_path / "cut.tar.gz")
        changed = bytearray(raw)
        changed[at] ^= 0xFF
        (tmp_path / "changed.tar.gz").write_bytes(changed)
        try:
            with archive.opened(tmp_path / "changed.tar.gz") as file:
                archive.look_through(file, 10**9)  # a byte of the gzip header that means nothing
        except archive.Damaged:
            refused(tmp_path / "changed.tar.gz")


def ledger_with(tmp_path, parts, *statements: str) -> bytes:
    path = Path(tempfile.mkdtemp(dir=tmp_path)) / "l"
    path.write_bytes(parts["ledger.sqlite3"])
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize("statements", [
    ["DROP TABLE alembic_version"], ["DELETE FROM alembic_version"], ["UPDATE alembic_version SET version_num = '0001'"],
    ["INSERT INTO alembic_version VALUES ('0003')"], ["DROP TABLE jobs"], ["DROP TABLE alert_messages"], ["ALTER TABLE meta RENAME TO other"],
    ["CREATE TRIGGER t AFTER DELETE ON user_sessions BEGIN DELETE FROM jobs; END"], ["CREATE VIEW v AS SELECT 1"],
    ["DROP TABLE jobs", "CREATE VIEW jobs AS SELECT 1 AS id"], ["ALTER TABLE jobs DROP COLUMN reserved_ms"], ["DROP TABLE queues", "CREATE TABLE queues (x)"],
    ["PRAGMA writable_schema=ON", "UPDATE sqlite_master SET rootpage = 3 WHERE name = 'jobs'"],
])
def test_a_ledger_with_other_contents_is_refused(refused, parts, tmp_path, statements):
    changed = {"ledger.sqlite3": ledger_with(tmp_path, parts, *statements)}
    assert "The ledger in the backup" in refused(repack(tmp_path / "x.tar.gz", parts, **changed))


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000, b"SQLite format 3\0" + b"\0" * 4080])
def test_a_ledger_that_is_no_database_is_refused(refused, parts, tmp_path, content):
    assert "The ledger in the backup" in refused(repack(tmp_path / "x.tar.gz", parts, **{"ledger.sqlite3": content}))
    half = parts["ledger.sqlite3"][:20_000] + b"\xa5" * (len(parts["ledger.sqlite3"]) - 20_000)
    assert "The ledger in the backup" in refused(repack(tmp_path / "x.tar.gz", parts, **{"ledger.sqlite3": half}))


def test_a_secret_key_that_is_none_is_refused(refused, parts, tmp_path):
    for key in (b"", b"short", b"\0" * 40, "àèìòù".encode() * 10):
        refused(repack(tmp_path / "x.tar.gz", parts, **{"secret-key": key}))


def test_workers_alone_keep_a_restore_out(refused, settings, parts, tmp_path):
    (settings.data_dir / "workers").mkdir()
    held = settings.data_dir / "workers" / "w.lock"
    code = f"import fcntl, sys; f = open({str(held)!r}, 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    assert "in use" in refused(tmp_path / "good.tar.gz")
    holder.communicate()
    restore.restore(settings, tmp_path / "good.tar.gz")


def test_a_failure_while_putting_in_place_is_undone(settings, parts, tmp_path):
    """The last step fails: the database cannot be replaced, as a folder stands where its second name should be."""
    before = state(settings.data_dir)
    broken = load_settings({"DATA_DIR": str(settings.data_dir)})
    os.chmod(settings.data_dir, 0o700)
    original = Path.replace

    def replace(self, target):
        if Path(target).name == "ainstein.sqlite3" and "restore-" in str(self.parent.name) and "before" not in str(self):
            raise OSError(5, "Input/output error", str(target))
        return original(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(restore.CannotRestore, match="Nothing was changed"):
            restore.restore(broken, tmp_path / "good.tar.gz")
    assert state(settings.data_dir) == before and not list((settings.data_dir / "backups").glob("before-restore-*"))
    restore.restore(broken, tmp_path / "good.tar.gz")


def test_a_ledger_elsewhere_and_behind_a_link_is_restored_where_it_is(settings, parts, tmp_path):
    (tmp_path / "big").mkdir()
    real = tmp_path / "big" / "real.sqlite3"
    (settings.data_dir / "ainstein.sqlite3").rename(real)
    (settings.data_dir / "ainstein.sqlite3").symlink_to(real)
    old = real.stat().st_ino
    restore.restore(settings, tmp_path / "good.tar.gz")
    assert (settings.data_dir / "ainstein.sqlite3").is_symlink() and real.stat().st_ino != old


# ---- where a backup is written ---------------------------------------------------------------------------------------


def test_a_backup_overwrites_nothing_and_follows_no_link(settings, tmp_path):
    place, victim = tmp_path / "b.tar.gz", tmp_path / "victim"
    victim.write_text("precious")
    place.with_name("b.tar.gz.part").symlink_to(victim)
    backup.backup(settings, place)
    assert victim.read_text() == "precious" and tarfile.is_tarfile(place) and oct(place.stat().st_mode)[-3:] == "600"
    first = place.read_bytes()
    with pytest.raises(backup.CannotBackup, match="--force"):
        backup.backup(settings, place)
    assert place.read_bytes() == first
    place.unlink()
    for target in (victim, tmp_path / "nowhere"):
        place.unlink(missing_ok=True)
        place.symlink_to(target)
        with pytest.raises(backup.CannotBackup, match="--force"):
            backup.backup(settings, place)
    assert not (tmp_path / "nowhere").exists()
    place.unlink()
    place.symlink_to(victim)
    backup.backup(settings, place, force=True)
    assert not place.is_symlink() and victim.read_text() == "precious"
    backup.backup(settings, place, force=True)
    assert sorted(p.name for p in tmp_path.glob("b.tar*")) == ["b.tar.gz", "b.tar.gz.part"]


def test_one_who_puts_a_file_there_meanwhile_keeps_it(settings, tmp_path):
    place = tmp_path / "b.tar.gz"
    source = settings.data_dir / "uploads"
    source.mkdir()
    from app.services.instance import backup as writing

    def first(members):  # the moment after the first look
        place.write_text("mine")
        return original(members)

    original = writing._remove_stale
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_remove_stale", first)
        with pytest.raises(backup.CannotBackup):
            backup.backup(settings, place)
    assert place.read_text() == "mine" and not list(tmp_path.glob("*.part"))


def test_the_part_of_a_killed_backup_is_removed_and_that_of_a_running_one_is_not(settings, tmp_path):
    stale, running, other = (tmp_path / f"b.tar.gz.{letter * 16}.part" for letter in "abc")
    stale.write_text("x"), running.write_text("x"), other.symlink_to(tmp_path / "x")
    (tmp_path / "b.tar.gz.mine.part").write_text("x")
    with open(running) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        backup.backup(settings, tmp_path / "b.tar.gz")
    assert not stale.exists() and running.exists() and other.is_symlink() and (tmp_path / "b.tar.gz.mine.part").exists()


def test_a_backup_never_replaces_what_the_program_needs(settings, tmp_path):
    for name in ("ainstein.sqlite3", "ainstein.sqlite3-wal", "secret-key", "lock", "uploads"):
        (settings.data_dir / name).touch()
        with pytest.raises(backup.CannotBackup, match="not replaced"):
            backup.backup(settings, settings.data_dir / name, force=True)
    with pytest.raises(backup.CannotBackup, match="There is no folder"):
        backup.backup(settings, tmp_path / "none" / "b.tar.gz")


def test_only_uploads_that_are_regular_files_are_packed(settings, tmp_path):
    folder = settings.data_dir / "uploads"
    folder.mkdir()
    (folder / ("up_" + "1" * 32)).write_text("a")
    (folder / ("up_" + "2" * 32)).symlink_to("/etc/passwd")
    os.mkfifo(folder / ("up_" + "3" * 32))
    (folder / ("up_" + "4" * 32)).mkdir()
    (folder / "up_x").write_text("b")
    manifest = backup.backup(settings, tmp_path / "b.tar.gz")
    assert [n for n in manifest["files"] if n.startswith("uploads/")] == ["uploads/up_" + "1" * 32]


# ---- paths from rows ---------------------------------------------------------------------------------------------------


def test_a_forged_id_of_an_upload_reaches_no_file_outside(context, tmp_path):
    folder = context.extensions["settings"].data_dir / "uploads"
    folder.mkdir()
    victim, inner = context.extensions["settings"].data_dir / "victim", folder / "kept"
    victim.write_text("precious"), inner.write_text("precious")
    link = folder / ("up_" + "5" * 32)
    link.symlink_to(victim)
    forged = ["../victim", str(victim), "", ".", "..", "kept", "up_" + "5" * 32, "up_../../../victim", "up_" + "6" * 32 + "\n", "a/b", "x" * 40]
    connection = Connection(context.extensions["settings"].database_url)
    with connection.transaction() as tx:
        for n, name in enumerate(forged):
            tx.execute("INSERT INTO uploads (id, tenant_id, filename, sha256, size, created_ms, job_uuid) VALUES (:id, NULL, 'f', '', 1, 0, :u)", id=name, u=str(n))
    for name in forged:
        assert uploads.path_of(name) is None, name
    retention.sweep_uploads(connection, folder)
    assert victim.read_text() == "precious" and inner.read_text() == "precious"
    assert connection.fetch_all("SELECT COUNT(*) FROM uploads") == [(0,)]
    connection.close()


def test_the_sweep_goes_on_past_a_folder_and_a_link_of_the_name_of_an_upload(context):
    folder = context.extensions["settings"].data_dir / "uploads"
    (folder / ("up_" + "7" * 32)).mkdir(parents=True)
    (folder / ("up_" + "8" * 32)).symlink_to(folder)
    (folder / ("up_" + "9" * 32)).write_text("old")
    for entry_ in folder.iterdir():
        os.utime(entry_, (0, 0), follow_symlinks=False)
    connection = Connection(context.extensions["settings"].database_url)
    assert retention.sweep_uploads(connection, folder) == 2
    assert [p.name for p in folder.iterdir()] == ["up_" + "7" * 32]
    connection.close()
