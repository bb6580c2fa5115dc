"""Frames of the team's own modules are ours; those of installed packages and of Python are not."""

from __future__ import annotations

import importlib
import sys

from app.support.tracebacks import folders_of, parse_traceback


def test_frames_of_job_modules_outside_the_project_are_ours(tmp_path, monkeypatch):
    (tmp_path / "src/acme_team/deep").mkdir(parents=True)
    for name in ("src/acme_team/__init__.py", "src/acme_team/deep/__init__.py", "acme_alone.py", "src/acme_team/deep/jobs.py"):
        (tmp_path / name).write_text("")
    site = tmp_path / "venv/lib/python3/site-packages/acme_installed"
    site.mkdir(parents=True)
    (site / "__init__.py").write_text("")
    for folder in (tmp_path, tmp_path / "src", site.parent):
        monkeypatch.syspath_prepend(str(folder))
    names = ("acme_team.deep.jobs", "acme_alone", "acme_installed")
    try:
        for name in names:
            importlib.import_module(name)
        also = folders_of([*names, "acme_not_imported"])
    finally:
        for name in [name for name in sys.modules if name.startswith("acme_")]:
            del sys.modules[name]
    files = [f"{tmp_path}/src/acme_team/helper.py", f"{tmp_path}/acme_alone.py", f"{site}/client.py", "/usr/lib/python3/json/decoder.py", "/app/x.py"]
    text = "".join(f'  File "{file}", line 3, in f\n    x()\n' for file in files) + "KeyError: 1"
    frames = [frame for group in parse_traceback(text, "/app/", also)["groups"] for frame in group["frames"]]
    assert [frame["ours"] for frame in frames] == [True, True, False, False, True]
    assert [frame["file"] for frame in frames][:3] == ["acme_team/helper.py", "acme_alone.py", "acme_installed/client.py"]
    assert not any(f["ours"] for g in parse_traceback(text, "/other/")["groups"] for f in g["frames"])
