"""The order of the test files in a run of several processes, each of which takes the next file when it has ended one.

Files that mostly wait for processes (`WAITS`) alternate with files that mostly compute, so that two cores are busy all the time. Of each
kind the longest come first: a long file that came last would run alone. Measured by `--durations`. A file that is not named in `LONGEST`
takes less than a minute.
"""

from __future__ import annotations

WAITS = ("process/", "chaos/")
NAMED_S, OTHER_S = 70, 6  # seconds: what a named and another file takes in the mean

LONGEST = """
both/test_anything e2e/test_pages both/test_pages integrations/test_prestashop integrations/test_wordpress e2e/test_live both/test_hidden
controllers/test_usage services/alerts/test_alerts both/test_commands support/test_linear e2e/test_joblist jobs/test_csv_import
process/test_run_sh process/test_generation process/test_hostile process/test_autoscaling process/test_frozen process/test_workers
chaos/test_chaos process/test_controls process/test_sync process/test_postgres process/test_dependencies process/test_bulk process/test_slow
""".split()


def ordered(files: list[str]) -> list[str]:
    """The files (`folder/test_name`) in the order in which they are taken: at each moment both kinds have done the same share of their time."""
    share: dict[str, float] = {}
    for waits in (True, False):
        kind = sorted((file for file in files if file.startswith(WAITS) == waits), key=lambda file: LONGEST.index(file) if file in LONGEST else len(LONGEST))
        seconds = [NAMED_S if file in LONGEST else OTHER_S for file in kind]
        share |= {file: sum(seconds[:n]) / sum(seconds) for n, file in enumerate(kind)}
    return sorted(files, key=share.__getitem__)


def file_of(nodeid: str) -> str:
    return nodeid.split("::")[0].removeprefix("tests/").removesuffix(".py")


def arrange(items: list) -> None:
    """Sorts the tests of pytest by their files; within a file they stay as they were."""
    place = {file: n for n, file in enumerate(ordered(list(dict.fromkeys(file_of(item.nodeid) for item in items))))}
    items.sort(key=lambda item: place[file_of(item.nodeid)])
