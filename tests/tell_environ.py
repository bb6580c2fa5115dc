"""A process that tells which variables it has: `python -m tests.tell_environ`."""

import json
import os

print(json.dumps({"ok": True, "why": "", "doubtful": False, "names": sorted(os.environ)}))
