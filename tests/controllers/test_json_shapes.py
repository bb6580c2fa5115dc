"""The JSON that scripts read keeps its keys, their order and their types; exports keep their columns.

`json_shapes.json` records them: of each address the types of every value by its path, of an object its keys in their order.
A key that is gone, new or elsewhere breaks somebody's script: change the record only on purpose.
"""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from app import create_app
from app.config import load_settings
from app.extensions import db
from app.ledger.dialect import Connection
from app.services.jobs import facts
from app.services.people import accounts
from app.support.clock import now_ms
from tests.both.rows import fill, fill_batches
from tests.conftest import PASSWORD, sign_in
from tests.ledger_fixture import Ledger, prepare_empty

RECORD = json.loads(Path(__file__).with_name("json_shapes.json").read_text())
# whose keys are a job's own, what can be done with a worker now, states that there are, columns of a file, services, actions
OWN_KEYS = {"args", "commands", "members", "attributes", "services", "counts"}


def shape(value: object) -> dict[str, str]:
    """Types by path; of an object its keys in their order; of a list ([]) those of all its elements."""
    found: dict[str, set[str]] = defaultdict(set)
    _look(value, "", found)
    return {path: " | ".join(sorted(types)) for path, types in sorted(found.items())}


def _look(value: object, path: str, found: dict[str, set[str]]) -> None:
    if isinstance(value, dict) and path.rsplit(".", 1)[-1] not in OWN_KEYS:
        found[path].add(f"{{{' '.join(value)}}}")
        for key, inner in value.items():
            _look(inner, f"{path}.{key}", found)
    elif isinstance(value, list):
        found[path].add("list")
        for inner in value:
            _look(inner, f"{path}[]", found)
    else:
        found[path].add({"dict": "object", "NoneType": "null", "str": "text", "bool": "bool", "int": "int", "float": "float"}[
            type(value).__name__])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The product with rows of every state and kind; `read(address)` is the JSON that a super-admin's script gets."""
    app = create_app(load_settings({"DATA_DIR": str(tmp_path_factory.mktemp("shapes")), "ALERT_LANGUAGE": "en", "JOB_MODULES": "tests.jobtypes"}))
    settings = app.extensions["settings"]
    with app.app_context():
        prepare_empty(settings)
        accounts.create_user("admin@example.org", "super-admin", PASSWORD)
    ledger = Ledger(app, Connection(settings.database_url), "sqlite")
    uuids, batches = fill(ledger), fill_batches(ledger)
    ledger.change("INSERT INTO consumers (consumer_id, host, process_id, queue, wanted, least, most, started_ms, beat_ms) "
                  "VALUES ('c', 'box', 7, 'high', 1, 1, 3, 1, 1)")
    ledger.change("INSERT INTO audit (at_ms, actor, action, subject, result) VALUES (1, 'autoscaling', 'worker started', 'box', 'why')")
    facts.advance(ledger.connection)
    ledger.change("INSERT INTO deploys (at_ms, text, actor, version) VALUES (1, 'x', 'ann', NULL), (:at, 'y', NULL, 'abc')", at=now_ms() - 1000)
    client = sign_in(app, "admin@example.org")
    client.post("/admin/jobs/queues/high/pause", data={"csrf_token": client.csrf, "minutes": "5", "reason": "why"})
    client.post("/admin/jobs/people/invitations", data={"csrf_token": client.csrf, "email": "new@example.org", "role": "viewer"})
    yield SimpleNamespace(client=client, uuids=uuids, batches=batches, runner=app.test_cli_runner(),
                          read=lambda address: client.get(f"/admin/jobs{address}", headers={"Accept": "application/json"}))
    ledger.connection.close()
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def answers(site) -> dict[str, dict[str, str]]:
    """The shape of each answer, by address or command."""
    addresses = ["/realtime-stats", "/metrics", "/metrics?period=7d", "/metrics?group=type&period=30d", "/list?state=live", "/list?state=ended",
                 "/list?state=bin", "/workers", "/queues", "/queues/high", "/recurring", "/log", "/people/", "/alerts/", "/reports/", "/notices/?after=0", "/costs/", "/costs/days", "/generations/",
                 "/new/", "/new/?type=TestEcho", "/contents/", "/contents/1", "/contents/links/1", "/errors/?period=all",
                 "/usage/", "/usage/type/TestEcho", "/palette.json", "/palette.json?q=a", "/schedules/next?cron=0+9+*+*+1", "/schedules/next", "/schedules/next?cron=x"]
    found = {address: shape(site.read(address).get_json()) for address in addresses}
    found["/contents/syncs"] = shape(site.read(f"/contents/syncs/{site.uuids['completed']}").get_json())
    stored = json.loads(site.runner.invoke(args=["capacity", "--store", "--json"]).output)
    found["/capacity"], found["/capacity/hours"] = (shape(site.read(address).get_json()) for address in ("/capacity", "/capacity/hours?period=7d"))
    page = site.read("/capacity").get_json()["replay"]
    assert page == stored | {"age_ms": page["age_ms"]}, "page and command say the same"
    poll = {"Accept": "application/json", "X-Partials": "cards"}
    found["poll of cards"] = shape(site.client.get("/admin/jobs/realtime-stats", headers=poll).get_json())
    for state, uuid in site.uuids.items():
        if state in ("processing", "retried", "completed", "failed", "timeout", "binned", "lost", "held"):
            found[f"/job/ {state}"] = shape(site.read(f"/job/{uuid}").get_json())
            site.client.set_cookie("lang", "en")  # the command line speaks English
            shown = site.runner.invoke(args=["jobs", "show", uuid, "--json"])
            moving = {"ends": None} if state == "processing" else {}  # what a running job still takes is counted from now
            assert json.loads(shown.output) | moving == site.read(f"/job/{uuid}").get_json() | moving, "page and command say the same"
    for name in ("running", "ended"):
        found[f"/batches/ {name}"] = shape(page := site.read(f"/batches/{site.batches[name]}").get_json())
        shown = json.loads(site.runner.invoke(args=["batches", "show", site.batches[name], "--json"]).output)
        assert page | {"ended_a_minute": 0, "left_ms": None} == shown | {"ended_a_minute": 0, "left_ms": None}, "page and command say the same"
    found["/batches/"] = shape(site.read("/batches/").get_json())
    found["batches list"] = shape(json.loads(site.runner.invoke(args=["batches", "list", "--json"]).output))
    found["jobs list"] = shape(json.loads(site.runner.invoke(args=["jobs", "list", "--json"]).output))
    found["jobs list failed"] = shape(json.loads(site.runner.invoke(args=["jobs", "list", "--state", "failed", "--json"]).output))
    site.runner.invoke(args=["users", "token", "admin@example.org", "--name", "n", "--scope", "read"])
    found["users list"] = shape(json.loads(site.runner.invoke(args=["users", "list", "--json"]).output))
    def post(address: str, **form: str) -> dict:
        sent = form | {"csrf_token": site.client.csrf}
        return site.client.post(f"/admin/jobs/{address}", data=sent, headers={"Accept": "application/json"}).get_json()

    moved = post("queues/place", uuid=site.uuids["pending"], to="top")
    found["move"], found["undone move"] = shape(moved), shape(post("queues/undo", action=str(moved["action"])))
    found["refused move"] = shape(post("queues/place", uuid=site.uuids["completed"], to="top"))
    found["wrong move"] = shape(post("queues/place", place="x"))
    found["saved view"], found["wrong view"] = shape(post("views/", name="mine", state="failed")), shape(post("views/", name=""))
    found["/views/"] = shape(site.read("/views/").get_json())
    for address in ("types", "jobs?state=live", f"jobs/{site.uuids['completed']}", f"jobs/{site.uuids['completed']}/log", f"batches/{site.batches['ended']}"):
        name = f"/api/{address}".replace(site.uuids["completed"], "UUID").replace(site.batches["ended"], "ID")
        found[name] = shape(site.client.get(f"/api/{address}").get_json())
    sent = site.client.post("/api/jobs", json={"type": "TestEcho", "args": {"text": "x"}, "delay": 60}, headers={"X-CSRFToken": site.client.csrf})
    found["POST /api/jobs"] = shape(sent.get_json())
    found["POST /api/jobs wrong"] = shape(site.client.post("/api/jobs", json={"type": "x"}, headers={"X-CSRFToken": site.client.csrf}).get_json())
    found["users tokens"] = shape(json.loads(site.runner.invoke(args=["users", "tokens", "--json"]).output))
    held = post("bulk", action="hold", uuid=site.uuids["pending"])
    found["bulk"], found["undone bulk"] = shape(held), shape(post(f"undo/{held['action']}"))
    found["bulk of none"], found["wrong bulk"] = shape(post("bulk", action="hold", uuid=site.uuids["completed"])), shape(post("bulk"))
    found["act"] = shape(post(f"act/{site.uuids['pending']}/hold"))
    found["deploy"], found["wrong deploy"] = shape(post("errors/deploys", text="z")), shape(post("errors/deploys", text=""))
    for address in ("/list.csv", "/costs/costs.csv", f"/contents/report/{site.uuids['completed']}.csv"):
        head = next(csv.reader(io.StringIO(site.client.get(f"/admin/jobs{address}").get_data(as_text=True).lstrip("\ufeff"))))
        found[address.rsplit("/", 1)[0] if "report" in address else address] = {"": ",".join(head)}
    return found


def test_json_and_exports_keep_their_keys_and_types(site):
    found = answers(site)
    assert found.keys() == RECORD.keys()
    for address, wanted in RECORD.items():
        assert found[address].keys() == wanted.keys(), address
        for path, types in found[address].items():
            assert set(types.split(" | ")) <= set(wanted[path].split(" | ")), f"{address} {path}"
