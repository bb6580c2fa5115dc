"""The graph page, the question for the tree, and `after` in the form: as people and scripts meet them."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from sqlalchemy import event

from app import registry
from app.extensions import db
from app.models import JobHistory, WorkerHeartbeat
from app.services.forecast.estimate import Estimate, Interval, JobForecast
from app.services.jobs import batches, graph_figures, graph_walk, lookup
from app.services.jobs.graph_walk import Graph, Node
from app.support.clock import naive, now_ms

JSON = {"Accept": "application/json"}


def dispatch(app, name: str = "TestEcho", **options) -> str:
    with app.app_context():
        uuid = registry.find(name).with_options(**options).dispatch()
        db.session.commit()
    return uuid


def state(app, uuid: str) -> str:
    with app.app_context():
        return lookup.state_of(uuid)


@pytest.fixture
def diamond(app):
    """One job, two after it, one after both."""
    top = dispatch(app)
    left, right = dispatch(app, after=[top]), dispatch(app, "TestNoop", after=[top])
    return SimpleNamespace(top=top, left=left, right=right, end=dispatch(app, after=[left, right]))


@pytest.fixture
def english(admin):
    admin.set_cookie("lang", "en")
    return admin


def test_the_graph_of_a_job_has_a_box_a_line_and_a_row_for_each(english, diamond):
    page = english.get(f"/admin/jobs/job/{diamond.left}/graph").text
    assert page.count('class="node') == 3, "ancestors and descendants, not brothers"
    page = english.get(f"/admin/jobs/job/{diamond.end}/graph?zoom=150").text
    assert page.count('class="node') == 4 and page.count('class="edge') == 4
    boxes = re.findall(r'<a href="([^"]+)" class="node', page)
    assert boxes == [f"/admin/jobs/job/{diamond.end}/graph?zoom=150&amp;node={uuid}#why" for uuid in (
        diamond.top, *sorted((diamond.left, diamond.right), key=page.index), diamond.end)]
    assert page.count("<tr class=\"flow\"") == 4
    assert 'style="' not in page
    assert f"Waits for Test Echo {diamond.left[:8]}, which waits too, and for one other" in page
    assert "First in the chains" in page and f"Test Echo {diamond.top[:8]}" in page
    body = english.get(f"/admin/jobs/job/{diamond.end}/graph", headers=JSON).json
    assert {job["uuid"]: job["layer"] for job in body["jobs"]} == {diamond.top: 0, diamond.left: 1, diamond.right: 1, diamond.end: 2}
    assert len(body["edges"]) == 4 and len(body["critical_path"]) == 3 and body["predicted_end"] is None
    assert english.get("/admin/jobs/job/nothing/graph").status_code == 404
    assert english.get("/admin/jobs/batches/nothing/graph").status_code == 404


def test_odd_choices_in_the_address_mean_the_default(english, diamond):
    for query in ("zoom=0", "zoom=abc", "node=x", "open=x", "sort=x", "node=%25", "sort=state", "sort=name"):
        assert english.get(f"/admin/jobs/job/{diamond.end}/graph?{query}").status_code == 200, query


def test_a_poll_gets_the_graph(english, diamond):
    answer = english.get(f"/admin/jobs/job/{diamond.end}/graph", headers=JSON | {"X-Partials": "graph"}).json
    assert answer["partials"]["graph"].count('class="node') == 4


def graph_of(states: dict[str, str], *edges: str, name: str = "TestEcho") -> Graph:
    """`graph_of({"a": "pending"}, "a>b")`: `>` is an open edge, `-` one that is not waited over."""
    return Graph({u: Node(u, name, s, now_ms() if s == "processing" else None, now_ms()) for u, s in states.items()},
                 {(e[0], e[2]): e[1] == ">" for e in edges}, False)


def outlook(**ends: Interval) -> graph_figures.Outlook:
    """These jobs end then; a run takes a second, 8 of 10 take 0.9 to 1.1 s."""
    run = Estimate(Interval(900, 1000, 1100), 1000.0, 100.0, 50, "job_type")
    return graph_figures.Outlook({u: JobForecast(end, end, None, 1, None, None, run) for u, end in ends.items()}, {"TestEcho": run})


@pytest.fixture
def workers(context):
    at = naive(now_ms())
    for n in range(2):
        db.session.add(WorkerHeartbeat(worker_id=f"w{n}", worker_name=f"w{n}", process_id=n, status="idle", queue="default", consumer_id="c",
                                       host="h", started_at=at, last_heartbeat=at))
    db.session.commit()


def test_the_prediction_is_the_larger_of_the_chain_and_the_work(workers):
    chain = graph_of({"a": "pending", "b": "waiting", "c": "waiting", "d": "completed"}, "a>b", "b>c", "d-a")
    now = now_ms()
    found = graph_figures.forecast(chain, outlook(a=Interval(now + 900, now + 1000, now + 1100)))
    assert found.path == ["a", "b", "c"] and abs(found.chain_ms - 3000) < 500
    assert abs(found.end.middle - now - 3000) < 500
    assert abs(found.end.high - found.end.middle - 173) < 5, "three independent steps of 100 ms"
    behind = graph_figures.forecast(chain, outlook(a=Interval(now + 50_000, now + 60_000, now + 70_000)))
    assert behind.end.middle == now + 62_000, "other jobs stand before the first one"
    wide = graph_of({str(n): "pending" for n in range(10)})
    end = graph_figures.forecast(wide, outlook(**{str(n): Interval(now, now + 1000, now + 2000) for n in range(10)})).end
    assert abs(end.middle - now - 5000) < 500, "10 s of work for 2 workers"
    assert end.low < end.middle < end.high


@pytest.mark.parametrize(("states", "edges", "why"), [
    ({"a": "failed", "b": "waiting"}, ["a>b"], "person"), ({"a": "held"}, [], "person"), ({"a": "bin", "b": "waiting"}, ["a>b"], "person"),
    ({"a": "failed", "b": "pending"}, ["a-b"], None), ({"a": "failed"}, [], "done"), ({"a": "pending"}, [], None)])
def test_a_prediction_is_not_made_when_a_person_is_needed(workers, states, edges, why):
    now = now_ms()
    jobs = {u: Interval(now, now, now) for u, s in states.items() if s in ("pending", "processing")}
    found = graph_figures.forecast(graph_of(states, *edges), outlook(**jobs))
    assert found.why == (why if why != "done" else None) and found.done == (why == "done")
    assert (found.end is None) == (why is not None)


def test_a_prediction_is_not_made_without_runs_or_workers(context):
    now = now_ms()
    assert graph_figures.forecast(graph_of({"a": "pending"}), outlook(a=Interval(now, now, now))).why == "workers"
    for code in ("types", "workers", "monitor", "stuck", "paused"):
        unknown = JobForecast(None, None, code, None, None, None, None)
        found = graph_figures.forecast(graph_of({"a": "pending"}), graph_figures.Outlook({"a": unknown}, {}))
        assert (found.why, found.end) == (code, None) and found.types == ["TestEcho"]


def test_what_still_takes_time_goes_by_progress_then_by_the_average():
    now = now_ms()
    assert graph_figures.remaining(Node("a", "T", "processing", now - 1000, now, 0.25), 99.0, now) == 3000
    assert graph_figures.remaining(Node("a", "T", "processing", now - 1000, now, None), 1500.0, now) == 500
    assert graph_figures.remaining(Node("a", "T", "scheduled", None, now + 700), 100.0, now) == 800
    assert graph_figures.remaining(Node("a", "T", "failed"), 100.0, now) == 0


def test_large_graphs_fold_by_type_and_layer_and_the_counts_are_exact(context):
    nodes = {"top": Node("top", "TestEcho", "completed")}
    for n in range(400):
        nodes[f"m{n}"] = Node(f"m{n}", "TestNoop" if n % 4 else "TestEcho", "failed" if n < 10 else "pending")
    edges = {("top", f"m{n}"): False for n in range(400)}
    folded = graph_figures.fold(Graph(nodes, edges, False))
    assert sorted(len(g.members) for g in folded.groups.values()) == [1, 100, 300]
    assert {g.job_type: dict(g.states) for g in folded.groups.values() if len(g.members) > 1} == {
        "TestEcho": {"pending": 97, "failed": 3}, "TestNoop": {"pending": 293, "failed": 7}}
    assert len(folded.edges) == 2 and folded.band == 1
    key = next(key for key, g in folded.groups.items() if len(g.members) == 100)
    unfolded = graph_figures.fold(Graph(nodes, edges, False), key)
    assert len(unfolded.groups) == 102 and sum(len(g.members) for g in unfolded.groups.values()) == 401
    chain = {f"c{n}": Node(f"c{n}", "TestEcho", "waiting") for n in range(1000)}
    banded = graph_figures.fold(Graph(chain, {(f"c{n}", f"c{n + 1}"): True for n in range(999)}, False))
    assert banded.band == 4 and len(banded.groups) == 250 and len(banded.edges) == 249
    assert graph_figures.causes(Graph(chain, {(f"c{n}", f"c{n + 1}"): True for n in range(999)}, False), "c999") == [chain["c0"]]


def test_a_batch_has_a_graph_and_its_boxes_unfold(english, app):
    with app.app_context():
        with batches.batch("Import of March") as batch:
            registry.find("TestEcho").with_options(batch=batch).dispatch_many([{"text": str(n)} for n in range(350)])
        db.session.commit()
    page = english.get(f"/admin/jobs/batches/{batch.id}/graph").text
    assert "Test Echo × 350" in page and "350 pending" in page and "Import of March" in page
    (url,) = re.findall(r'<a href="([^"#]+)#rows" class="node', page)
    assert english.get(url.replace("&amp;", "&")).text.count("/admin/jobs/job/") >= 350


def test_what_is_cut_is_said_and_the_nearest_stay(english, app, diamond, monkeypatch):
    monkeypatch.setattr(graph_walk, "MOST_JOBS", 3)
    page = english.get(f"/admin/jobs/job/{diamond.end}/graph").text
    assert "There are more" in page and page.count('class="node') == 3
    assert f"node={diamond.end}" in page


def test_a_page_of_a_hundred_jobs_asks_few_times(english, app):
    top = dispatch(app)
    with app.app_context():
        registry.find("TestNoop").with_options(after=[top]).dispatch_many([{} for _ in range(100)])
        db.session.commit()
        asked = []
        event.listen(db.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    english.get(f"/admin/jobs/job/{top}/graph")
    assert len(asked) < 40


def test_the_question_tells_how_many_wait_and_does_what_was_chosen(english, app, diamond):
    form = {"csrf_token": english.csrf, "ask": "1"}
    page = english.post(f"/admin/jobs/cancel/{diamond.top}", data=form).text
    assert "3 jobs wait for it, directly or through others." in page and page.count('name="children"') == 3
    assert state(app, diamond.top) == "pending"
    shown = english.get(f"/admin/jobs/job/{diamond.top}").text
    assert "3 jobs wait for it" in shown and "data-confirm-more" in shown
    assert english.post(f"/admin/jobs/cancel/{diamond.top}", data={"csrf_token": english.csrf, "children": "all"}, headers=JSON).status_code == 400
    english.post(f"/admin/jobs/cancel/{diamond.top}", json={"children": "cancel"}, headers=JSON | {"X-CSRFToken": english.csrf})
    assert {state(app, uuid) for uuid in vars(diamond).values()} == {"cancelled"}


def test_scripts_that_say_nothing_leave_them_waiting(english, app, diamond):
    english.post(f"/admin/jobs/cancel/{diamond.top}", data={"csrf_token": english.csrf}, headers=JSON)
    assert state(app, diamond.left) == "waiting"
    page = english.get(f"/admin/jobs/job/{diamond.left}").text
    assert f"Waits for Test Echo {diamond.top[:8]}, which was cancelled." in page and "That job will not complete any more." in page
    english.post(f"/admin/jobs/act/{diamond.left}/run-without-waiting", data={"csrf_token": english.csrf})
    assert state(app, diamond.left) == "pending"


def test_the_list_asks_only_where_jobs_wait_that_are_not_chosen(english, app, diamond):
    form = {"csrf_token": english.csrf, "action": "cancel", "uuid": [diamond.top, diamond.left]}
    page = english.post("/admin/jobs/bulk", data=form | {"ask": "tree"}).text
    assert "2 other jobs wait for them" in page and state(app, diamond.top) == "pending"
    english.post("/admin/jobs/bulk", data=form | {"ask": "tree", "children": "run"})
    assert state(app, diamond.top) == state(app, diamond.left) == "cancelled" and state(app, diamond.right) == "pending"
    assert english.post("/admin/jobs/bulk", data=form | {"uuid": [diamond.end], "ask": "tree"}).status_code == 303, "nothing waits: no question"
    assert state(app, diamond.end) == "cancelled"


def test_the_form_takes_jobs_to_wait_for(english, app, diamond):
    form = {"csrf_token": english.csrf, "option-type": "TestEcho", "text": "x", "option-after": f"{diamond.end[:8]}\n{diamond.top}"}
    where = english.post("/admin/jobs/new/", data=form).location
    with app.app_context():
        assert set(lookup.as_json(where.rsplit("/", 1)[1])["parents"]) == {diamond.end, diamond.top}
    answer = english.post("/admin/jobs/new/", data=form | {"option-after": "deadbeef"})
    assert answer.status_code == 400 and 'id="after-e"' in answer.text and "deadbeef" in answer.text
    answer = english.post("/admin/jobs/new/", data=form | {"option-after": "deadbeef"}, headers=JSON)
    assert list(answer.json["fields"]) == ["after"]


def test_an_erased_job_is_a_box_without_a_page(english, app, diamond):
    with app.app_context():
        db.session.execute(db.delete(JobHistory))
        db.session.execute(db.text("DELETE FROM jobs WHERE uuid = :u"), {"u": diamond.top})
        db.session.commit()
    page = english.get(f"/admin/jobs/job/{diamond.end}/graph?node={diamond.top}").text
    assert "It was erased" in page and f'href="/admin/jobs/job/{diamond.top}"' not in page
    assert english.get(f"/admin/jobs/job/{diamond.left}").status_code == 200


@pytest.fixture
def wide(app):
    """A job, 120 after it (10 of them another type and held), one after all; its batch has all but the first."""
    top = dispatch(app)
    with app.app_context():
        with batches.batch("Wide") as made:
            middle = registry.find("TestEcho").with_options(after=[top], batch=made).dispatch_many([{} for _ in range(120)])
            end = registry.find("TestNoop").with_options(after=middle, batch=made).dispatch()
        db.session.execute(db.text("UPDATE jobs SET state = 'held', hold_code = 'person' WHERE uuid IN :u").bindparams(db.bindparam("u", expanding=True)), {"u": middle[:10]})
        db.session.commit()
    return SimpleNamespace(top=top, end=end, batch=made.id)


def rows_of(page: str) -> list[str]:
    return re.findall(r'<tr class="flow" data-key="t([^"]+)"', page)


def test_the_table_has_pages_of_50_and_each_job_once(english, wide):
    address, seen = f"/admin/jobs/job/{wide.end}/graph", []
    for n in (50, 50, 22):
        page = english.get(address).text
        seen += rows_of(page)
        assert len(rows_of(page)) == n and page.count('class="node') == 122, "the drawing has all"
        address = (re.findall(r'href="([^"#]+)#rows" rel="next"', page) or [""])[0].replace("&amp;", "&")
    assert not address and len(set(seen)) == 122 and 'rel="prev"' in page and "101 to 122 of 122" in page
    for odd in ("0", "99", "x", "-1"):
        assert english.get(f"/admin/jobs/job/{wide.end}/graph?page={odd}").status_code == 200


@pytest.mark.parametrize("most", [300, 20])
def test_each_count_leads_to_just_these_jobs_also_in_folded_boxes(english, wide, monkeypatch, most):
    monkeypatch.setattr(graph_figures.fold, "__defaults__", (None, most))
    page = english.get(f"/admin/jobs/batches/{wide.batch}/graph").text
    counts = re.findall(r'<a class="in" href="([^"#]+)#rows">(\d+) (\w+)</a>', page)
    assert {(int(n), state) for _url, n, state in counts} == {(1, "pending"), (111, "waiting"), (10, "held")}
    for url, n, state in counts:
        listed, address = [], url.replace("&amp;", "&")
        while address:
            page = english.get(address).text
            listed += rows_of(page)
            address = (re.findall(r'href="([^"#]+)#rows" rel="next"', page) or [""])[0].replace("&amp;", "&")
        assert len(set(listed)) == len(listed) == int(n), state
        assert f"{n} {state}: <a" in page


def test_the_rows_of_the_drawing_have_the_numbers_of_the_layers_in_the_table(english, wide, diamond):
    page = english.get(f"/admin/jobs/job/{wide.end}/graph").text
    names = re.findall(r'<text class="layer" x="6" y="(\d+)">(\d+)</text>', page)
    assert [name for _y, name in names] == ["1", *["2"] * 15, "3"] and len({y for y, _name in names}) == 17
    assert re.findall(r'<td class="num corner">(\d+)</td>', page)[:3] == ["1", "2", "2"]


def test_fit_is_named_for_what_it_does_and_a_view_has_a_beginning(english, wide, diamond):
    small, large = (english.get(f"/admin/jobs/job/{uuid}/graph").text for uuid in (diamond.end, wide.end))
    assert "graph-frame fit whole narrow" in small and ">Fit</a>" in small
    assert 'graph-frame fit"' in large and "Fit width" in large
    assert ' chosen"' in small and ' first"' not in small
    batch = english.get(f"/admin/jobs/batches/{wide.batch}/graph").text
    assert [bool(re.search("first", name)) for name in re.findall(r'class="node ([^"]*)"', batch)] == [True, *[False] * 121]
