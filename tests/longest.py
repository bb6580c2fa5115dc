"""The files that take longest, longest first: a run of several processes gives each file to one of them, and a long one that came last
would run alone. Measured by `--durations`; a file that is not named here takes less than half a minute."""

from __future__ import annotations

LONGEST = """
both/test_anything process/test_run_sh process/test_hostile process/test_generation process/test_archive process/test_frozen
process/test_import_sync e2e/test_pages e2e/test_long_words process/test_autoscaling process/test_workers process/test_controls
services/alerts/test_alerts chaos/test_chaos controllers/test_specification integrations/test_prestashop both/test_pages both/test_hidden
both/test_junk e2e/test_below_a_path process/test_postgres process/test_sync process/test_dependencies process/test_bulk process/test_batches
process/test_live process/test_alerts controllers/test_json_shapes controllers/test_acts both/test_commands e2e/test_joblist e2e/test_batches
process/test_slow e2e/test_order e2e/test_graph process/test_settings process/test_tickets process/test_storage support/test_linear
""".split()


def place(nodeid: str) -> int:
    """Where the file of a test stands in the order; all others come after them, as they were."""
    file = nodeid.split("::")[0].removeprefix("tests/").removesuffix(".py")
    return LONGEST.index(file) if file in LONGEST else len(LONGEST)
