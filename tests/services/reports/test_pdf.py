"""The PDF, read back: pages, order, links, tags, fonts, and texts that stay on the page whatever they are."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace

import pytest

from app.services.reports import html_mail, pdf, pdf_charts, plain
from app.services.reports.model import Slot
from app.services.reports.pdf_pen import LEFT, WIDE
from app.services.reports.pdf_text import REGULAR, fonts, legible, lines, width
from tests.services.reports import pdf_reading
from tests.services.reports.made_up import ALL, DAY, EMPTY, HOUR, NASTY, RICH

SITE = "https://jobs.example.org/ops"
TITLES = {"it": ["Rapporto settimanale", "Che cosa guardare", "I numeri principali", "Volume e successo", "Attesa e durata", "Errori", "Recuperati e saltati", "Costi", "Capacità", "Avvisi"],
          "en": ["Weekly report", "What needs attention", "Key numbers", "Volume and success", "Waiting and running", "Errors", "Rescued and missed", "Costs", "Capacity", "Alerts"]}
HOSTILE = ["<b>&amp;</b> \" ' </para><font", "日本語テナント", "مستأجر", "שוכר", "🛒🇮🇹👩‍👩‍👧", "Łódź Ελλάδα Київ €", "a" * 10_000, "x " * 5_000, "\u202eevil\u202c", "\r\nBcc: all@example.org",
           "\x00\x1b[31m", "e" + "\u0301" * 500, "", " ", "\ud800", "%(n)s {0} %s", "=cmd|' /C calc'!A0", "‮\u2066\u2069", "\u00ad\u200b\ufeff", "𝔘𝔫𝔦"]


def read(figures, language="en"):
    data = pdf.render(figures, language, SITE)
    return data, pdf_reading.opened(data)


@pytest.fixture(scope="module")
def rich(languages):
    return read(RICH)[1]


@pytest.mark.parametrize("language", ["it", "en"])
@pytest.mark.parametrize("name", ALL)
def test_a_reader_finds_pages_titles_and_language(languages, name, language):
    data, reader = read(ALL[name], language)
    assert len(data) < 300_000 and data.startswith(b"%PDF-1.7")
    root, pages = reader.trailer["/Root"], len(reader.pages)
    assert root["/Lang"] == language and root["/MarkInfo"]["/Marked"] and root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert reader.metadata.title.startswith(TITLES[language][0]) and reader.metadata.author == "Ainstein Jobs"
    outline = [entry.title for entry in reader.outline[1]]
    assert [reader.outline[0].title, *outline][:len(TITLES[language])] == TITLES[language]
    for n, page in enumerate(reader.pages, start=1):
        assert [float(side) for side in page.mediabox] == pytest.approx([0, 0, 595.28, 841.89], abs=.1)
        foot = f"pagina {n} di {pages}" if language == "it" else f"page {n} of {pages}"
        text = page.extract_text()
        assert foot in text and ("ottobre 2026" if language == "it" else "October 2026") in text
    text = " ".join(" ".join(page.extract_text() for page in reader.pages).split())
    at = 0
    for title in TITLES[language]:
        at = text.index(title, at) + len(title)


@pytest.mark.parametrize("name", ALL)
def test_nothing_leaves_the_page(languages, name):
    _data, reader = read(ALL[name], "it")
    texts = pdf_reading.placed(reader)
    assert len(texts) > 80
    for one in texts:
        assert one.left >= LEFT - .5 and one.right <= WIDE - LEFT + .5 and 20 < one.base < 800, one
    beside = sorted(texts, key=lambda one: (one.page, round(one.base, 1), one.left))
    for one, after in zip(beside, beside[1:], strict=False):
        if (one.page, round(one.base, 1)) == (after.page, round(after.base, 1)):
            assert one.right <= after.left + .5, f"{one.text} covers {after.text}"


def test_links_lead_to_the_site_and_are_all_there(rich):
    urls = pdf_reading.links(rich)
    assert all(url.startswith(SITE + "/admin/jobs/") for url in urls)
    for wanted in (RICH.link, RICH.failed.link, RICH.slots[3].link, RICH.new_errors[2].link, RICH.failing[0].failed_link, RICH.types[1].link,
                   RICH.costs.rows[0].link, RICH.alerts_opened.link, RICH.missed.link):
        assert SITE + wanted in urls, wanted
    assert not pdf_reading.links(pdf_reading.opened(pdf.render(EMPTY, "en", "javascript:alert(1)")))


def test_screen_readers_get_a_tree(rich):
    tree = pdf_reading.tree(rich)
    kinds = [node.kind for node in tree.walk()]
    assert kinds.count("H1") == 1 and kinds.count("Figure") == 4 and kinds.count("Sect") == 7 and kinds.count("Table") == 16
    for node in tree.walk():
        if node.kind == "TR":
            assert node.children and all(cell.kind in ("TH", "TD") for cell in node.children)
        if node.kind == "Table":
            assert {len(row.children) for row in node.children} == {len(node.children[0].children)}
            assert all(cell.entries["/A"]["/Scope"] == "/Column" for cell in node.children[0].children)
        if node.kind == "Figure":
            assert re.search(r"\d", node.entries["/Alt"])
    said = " ".join(tree.said.split())
    assert '<b>=HYPERLINK("http://x")</b> & "quotes" \\u202e 日本語 🛒' in said, "the tags have the real name"
    assert "□□□" in "".join(one.text for one in pdf_reading.placed(rich)), "and the eye sees squares"
    assert "is a character that the font of this PDF does not have" in said


def test_links_have_words_and_belong_to_their_element(rich):
    numbers = rich.trailer["/Root"]["/StructTreeRoot"]["/ParentTree"]["/Nums"]
    parents = dict(zip(numbers[::2], numbers[1::2], strict=True))
    for page in rich.pages:
        assert isinstance(parents[page["/StructParents"]].get_object(), list) and page["/Tabs"] == "/S"
        for annotation in page.get("/Annots") or []:
            link = annotation.get_object()
            assert link["/Contents"].strip() and parents[link["/StructParent"]].get_object()["/S"] == "/Link"


def test_the_font_is_embedded_and_the_only_one(rich):
    for page in rich.pages:
        for font in page["/Resources"]["/Font"].values():
            assert "Inter" in font["/BaseFont"] and font["/FontDescriptor"]["/FontFile2"].get_data()


def test_the_same_figures_give_the_same_bytes(languages):
    small = replace(RICH, types=RICH.types[:2], slowest=(), failing=(), frequent_errors=())
    first = pdf.render(small, "en", SITE)
    pdf.render(EMPTY, "it", SITE)
    assert pdf.render(small, "en", SITE) == first
    later = pdf.render(replace(small, made_ms=RICH.made_ms + DAY), "en", SITE)
    assert pdf_reading.opened(later).metadata.creation_date > pdf_reading.opened(first).metadata.creation_date


def test_a_long_table_repeats_its_heads_and_says_each_row_once(languages):
    days = tuple(Slot(EMPTY.since + n * HOUR, EMPTY.since + (n + 1) * HOUR, 70_000 + n, 0, 0, 0) for n in range(62))
    _data, reader = read(replace(EMPTY, slots=days))
    with_head = [page.extract_text() for page in reader.pages if re.search(r"70,0\d\d", page.extract_text())]
    assert len(with_head) >= 2 and all("Cancelled" in text for text in with_head)
    table = next(node for node in pdf_reading.tree(reader).walk() if node.kind == "Table" and "70,061" in node.said)
    assert len(table.children) == 63 and table.said.count("Cancelled") == 1


@pytest.mark.parametrize("names", [HOSTILE[:10], HOSTILE[10:], ["a" * 10_000]], ids=["first", "second", "long"])
def test_no_name_breaks_a_report(languages, names):
    """In each place where a text of people or of jobs can stand."""
    def named(rows, *parts):
        return tuple(replace(row, **{part: names[(n + k) % len(names)] for k, part in enumerate(parts)}) for n, row in enumerate(rows))

    rows, name = named(RICH.types, "name", "label"), names[-1]
    errors = tuple(replace(row, largest=((row.title, 3),)) for row in named(RICH.frequent_errors, "title", "label"))
    figures = replace(
        RICH, types=rows, slowest=rows[::-1], failing=rows, new_errors=errors[::-1], frequent_errors=errors, zone=name,
        costs=replace(RICH.costs, rows=named(RICH.costs.rows, "tenant_id", "currency")),
        filter=replace(RICH.filter, job_type=name, tenant_id=name, queue=name), alerts=named(RICH.alerts * 3, "facts", "kind"))
    data, reader = read(figures)
    assert len(data) < 400_000
    for one in pdf_reading.placed(reader):
        assert one.left >= LEFT - .5 and one.right <= WIDE - LEFT + .5, one
    pdf_reading.tree(reader)
    assert len(html_mail.render(figures, "it", SITE).encode()) < 102_400
    text = re.sub("\u2068([^\u2068\u2069]*)\u2069", r"\1", plain.render(figures, "it", SITE))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text) and text.encode()


@pytest.mark.parametrize("text,shown", [
    ("Łódź Ελλάδα Київ €", "Łódź Ελλάδα Київ €"), ("acme 日本", "acme □□"), ("日本", "□□ (U+65E5 U+672C)"), ("日本語です", "□□□□□ (U+65E5 U+672C U+8A9E…)"), ("a\u200db\ufe0f", "ab"), ("\u0378", "□ (U+0378)"), ("", ""), ("\u0301\u0302" + "\U000e0101", "\u0301\u0302")])
def test_what_the_font_lacks_is_seen(text, shown):
    assert legible(text) == shown


@pytest.mark.parametrize("text", ["one two three four five six", "a" * 400, "a " * 300, "aa" * 40 + " b", " ", "", "i" * 30 + " " + "w" * 90])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_lines_fit_their_width(text, most):
    fonts()
    found = lines(text, REGULAR, 9, 60, most)
    assert 1 <= len(found) <= most and all(width(line, REGULAR, 9) <= 60 for line in found)
    whole = "".join(found).replace(" ", "")
    assert whole == text.replace(" ", "") or whole.endswith("…") and text.replace(" ", "").startswith(whole[:-1])


def test_axes_end_at_a_round_number_with_a_whole_half():
    assert [pdf_charts._round(value) for value in (0, 1, 2, 3, 7, 11, 15, 21, 99, 101, 149, 151, 220_000)] == [
        2, 2, 2, 4, 8, 20, 20, 30, 100, 150, 150, 200, 250_000]


def test_nothing_to_say_is_said(languages):
    _data, reader = read(EMPTY)
    text = " ".join(" ".join(page.extract_text() for page in reader.pages).split())
    for sentence in ("Nothing needs attention.", "No job ended.", "No new error.", "No job failed.", "No costs.", "No alert opened.", "No hour is known."):
        assert sentence in text
    assert NASTY not in text and "is a character that" not in text


@pytest.mark.parametrize("extreme", [0, -1, 2**99, -(2**99)])
def test_no_number_breaks_a_report(languages, extreme):
    """JSON of another program may hold any number: it is drawn, and stays in its column."""
    def all_of(value):
        if is_dataclass(value):
            return replace(value, **{field.name: all_of(getattr(value, field.name)) for field in fields(value)})
        if isinstance(value, tuple):
            return tuple(map(all_of, value))
        return value if isinstance(value, bool) or not isinstance(value, int | float) else type(value)(extreme)

    figures = all_of(RICH)
    _data, reader = read(figures)
    for one in pdf_reading.placed(reader):
        assert one.left >= LEFT - 1 and one.right <= WIDE - LEFT + 1, one
    assert html_mail.render(figures, "en", SITE) and plain.render(figures, "it", SITE)
