"""The git revision of the code, read from git's files; the repositories are made by git itself where it is there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from app.support.revision import of_folder, revision

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git makes the repositories")


@pytest.fixture
def repository(tmp_path):
    """`git(words)` in a new repository with a commit; it prints what git printed."""
    root = tmp_path / "team"

    def git(*words: str, cwd=root) -> str:
        named = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
        return subprocess.run(["git", *named, *words], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()

    (root / "jobs").mkdir(parents=True)
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "one")
    return SimpleNamespace(root=root, git=git, head=lambda cwd=root: git("rev-parse", "HEAD", cwd=cwd))


def test_a_branch_a_packed_one_a_tag_and_a_detached_head(repository):
    inside = repository.root / "jobs"
    assert of_folder(inside) == repository.head()
    repository.git("pack-refs", "--all", "--prune")
    assert of_folder(inside) == repository.head()
    repository.git("commit", "-q", "--allow-empty", "-m", "two")  # the file of the branch counts, not the packed one
    assert of_folder(inside) == repository.head()
    repository.git("checkout", "-q", "-b", "feature/deep/er")
    repository.git("commit", "-q", "--allow-empty", "-m", "three")
    assert of_folder(inside) == repository.head()
    repository.git("checkout", "-q", "--detach", "HEAD~1")
    assert of_folder(inside) == repository.head()


def test_a_worktree_and_a_submodule(repository, tmp_path):
    repository.git("worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    repository.git("commit", "-q", "--allow-empty", "-m", "there", cwd=tmp_path / "tree")
    assert of_folder(tmp_path / "tree") == repository.head(tmp_path / "tree") != repository.head()
    repository.git("pack-refs", "--all")
    assert of_folder(tmp_path / "tree") == repository.head(tmp_path / "tree")
    repository.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tmp_path / "tree"), "part")
    assert of_folder(repository.root / "part") == repository.head(repository.root / "part")


def test_what_is_missing_or_damaged_is_no_revision_and_no_error(repository, tmp_path):
    git = repository.root / ".git"
    for text in (b"", b"ref:", b"ref: refs/heads/none", b"ref: ../../secret", b"ref: /etc/passwd", b"\xff\xfe", b"x" * 10_000,
                 b"ref: HEAD", b"0" * 39, b"ref: refs/heads"):
        (git / "HEAD").write_bytes(text)
        assert of_folder(repository.root) is None, text
    (git / "HEAD").unlink()
    assert of_folder(repository.root) is None
    for text in ("gitdir: /nowhere", "nothing", "gitdir:", "gitdir: " + "a" * 5000, "gitdir: a\0b"):
        (tmp_path / ".git").write_text(text)
        assert of_folder(tmp_path) is None, text
    assert of_folder(tmp_path / "gone" / "deeper") is None


def test_modules_outside_the_project_count_instead_of_it_and_the_variable_before_both(repository, tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    repository.git("init", "-q", cwd=project)
    repository.git("commit", "-q", "--allow-empty", "-m", "of the project", cwd=project)
    for name, file in ("team_jobs", repository.root / "jobs" / "x.py"), ("own_jobs", project / "y.py"), ("odd", None):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__file__=str(file) if file else None))
    monkeypatch.delenv("CODE_REVISION", raising=False)
    ours, theirs = repository.head(project), repository.head()
    assert revision(project) == revision(project, ["own_jobs", "odd", "unknown"]) == ours
    assert revision(project, ["own_jobs", "team_jobs"]) == theirs
    other = repository.root.parent / "other"
    other.mkdir()
    repository.git("init", "-q", cwd=other)
    repository.git("commit", "-q", "--allow-empty", "-m", "of another", cwd=other)
    monkeypatch.setitem(sys.modules, "more_jobs", SimpleNamespace(__file__=str(other / "z.py")))
    assert revision(project, ["team_jobs", "more_jobs"]) == f"{theirs[:12]}-{repository.head(other)[:12]}"
    shutil.rmtree(repository.root / ".git")
    assert revision(project, ["team_jobs"]) == ours, "their folder is no repository"
    monkeypatch.setenv("CODE_REVISION", " v1.2 (of é) " + "x" * 90)
    assert revision(project) == ("v1.2-of-" + "x" * 90)[:40]
    monkeypatch.setenv("CODE_REVISION", "  ")
    assert revision(project) == ours
