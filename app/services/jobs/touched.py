"""Which rows an action has changed, exactly, and what an undo needs to know of each.

the rows before and after the action (ledger/undo.py) -> `changed` -> audit_jobs, in the transaction of the action
A row that is as it was is left out. Where there is no undo, the job is named without more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from app.ledger import undo


def changed(action: str, before: Mapping[int, undo.Row], after: Mapping[int, undo.Row]) -> list[tuple[str, str | None]]:
    """(uuid, JSON for an undo or None) of each row that is another or gone."""
    found = []
    for id_, was in before.items():
        left = after.get(id_)
        if left == was or len(was["uuid"]) > 36:  # a uuid of another program may not fit
            continue
        kept = None
        if left is not None and action in undo.PUT_BACK:
            written, compared = undo.PUT_BACK[action]
            kept = {name: was[name] for name in written}
            kept["left"] = {name: left[name] for name in (*compared, "claim_no")}
        elif left is not None and action in undo.OF_BIN:
            kept = {"left": left["deleted_at"]}
        found.append((was["uuid"], kept and json.dumps(kept, default=str, ensure_ascii=False)))
    return found
