"""A job type has one name on pages, its label; the name of its class stands beside it, in a title or not at all."""

from __future__ import annotations

import html
import re

PAGES = ("", "list", "list?state=live", "workers", "recurring", "alerts/", "batches/", "costs/", "usage/", "errors/?period=all", "log", "queues/default", "job/{failed}/graph")


def test_pages_call_a_type_by_its_label_and_the_list_once_a_row(site):
    site.client.set_cookie("lang", "en")
    site.ledger.change("UPDATE worker_heartbeats SET current_job_type = 'TestEcho', job_uuid = :u", u=site.uuids["failed"])
    for path in PAGES:
        page = site.client.get(f"/admin/jobs/{path.format(**site.uuids)}").text
        text = html.unescape(re.sub(r"<[^>]+>", "|", re.sub(r"(?s)<script.*?</script>|<select.*?</select>", "", page)))
        assert re.findall(r"\b(?:Test|Process|Demo)[A-Z]\w+", text) == [], path
    rows = re.findall(r'(?s)<th scope="row" class="job">(.*?)</th>', site.client.get("/admin/jobs/list?type=TestEcho").text)
    assert rows and all(re.sub(r"<[^>]+>", "", row).count("Test Echo") == 1 and "/usage/type/TestEcho" in row for row in rows)
