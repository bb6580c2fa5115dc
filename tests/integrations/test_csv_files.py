"""CSV in and out: encodings, delimiters, what a broken record costs, and the way back from an export."""

from __future__ import annotations

import csv
import io
import time
import tracemalloc
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from app.integrations import csv_records, text_sample
from app.integrations.csv_cells import is_empty
from app.integrations.csv_files import CELL_MAX, RECORD_MAX, guard, open_csv, unguard, write_rows
from app.support.validation import ValidationError

REQUIRED = ("a", "b", "c")
ROWS = [["1", "è “x” €", "text"], ["2", "y", "z"]]


@pytest.fixture
def read(tmp_path):
    """Records of a content after the header 'a,b,c' (or of a whole file): (line, cells, fault)."""

    def reading(content: str | bytes, head: str = "a,b,c\n") -> list[tuple]:
        path = tmp_path / "file.csv"
        path.write_bytes(content if isinstance(content, bytes) else (head + content).encode())
        return [(r.line, r.cells, r.fault) for r in open_csv(path, REQUIRED).records()]

    return reading


def good(records: list[tuple]) -> list[tuple]:
    return [(line, *cells) for line, cells, fault in records if fault is None]


def refused(records: list[tuple]) -> list[int]:
    return [line for line, _, fault in records if fault is not None]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_delimiters_and_line_ends(read, encoding, delimiter, newline):
    text = newline.join(delimiter.join(row) for row in (REQUIRED, *ROWS))
    assert good(read(text.encode(encoding))) == [(2, *ROWS[0]), (3, *ROWS[1])]


def test_the_delimiter_is_the_one_that_shows_the_columns(read):
    assert good(read('1;2;3;"4,5"\n', 'a;b;c;"one,two,three,four,five,six"\n')) == [(2, "1", "2", "3", "4,5")]
    assert good(read('"1,5";2;3\n', '"a";"b";"c"\n')) == [(2, "1,5", "2", "3")]


def test_blank_lines_are_no_records_and_are_counted_as_lines(read):
    text = "\n  \n" + "a,b,c\n" + "\r\n" + "1,2,3\n" + "   \n" + "4,5,6\n\n"
    assert good(read(text.encode())) == [(5, "1", "2", "3"), (7, "4", "5", "6")]


def test_more_blank_lines_before_the_header_than_a_record_may_have(read, monkeypatch):
    monkeypatch.setattr(csv_records, "RECORD_MAX", 1000)
    assert good(read(b"\n" * 1500 + b"a,b,c\n1,2,3\n")) == [(1502, "1", "2", "3")]


# What a broken record costs

@pytest.mark.parametrize(("content", "lines", "bad"), [
    ('1,"x,y\n2,b,c\n3,d,e\n', [3, 4], [2]),                       # open to the end of the file
    ('1,b,c\n2,"x,y\n3,"d",e\n4,f,g\n', [2, 4, 5], [3]),           # meets a quoted cell
    ('1,"x,y\n2,"",c\n3,"two\nlines",e\n', [3, 4], [2]),           # meets a quote written twice
    ('1,"x,y\n2,b,c\n3,d,e\n4,f,size 24"\n5,g,h\n', [3, 4, 5, 6], [2]),  # closed by accident
    ('1,"b" x,c\n2,b,c\n', [3], [2]),                              # text after a closing quote
    ('1,24",c\n2,b"b,c\n', [2, 3], []),                            # a quote inside a plain cell is only a character
    ('1,"b\nc, d, e\nf"\n2,b,c\n', [5], [2]),                      # one record of three lines has too few cells
    ('1,"b\n\n\nf",c,d\n2,b,c\n', [6], [2]),                       # ... or too many
    ('1,b\n2,b,c,d\n3,b,c\n', [4], [2, 3]),
    ('1,b,"c', [], [2]),
])
def test_a_broken_record_costs_itself(read, content, lines, bad):
    records = read(content)
    assert [line for line, *_ in good(records)] == lines
    assert refused(records) == bad


CELL = st.text("xyz è,;\n'", max_size=8).map(lambda text: "x" + text)
ROWS_OF_3 = st.lists(st.tuples(CELL, CELL, CELL), max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=ROWS_OF_3, after=ROWS_OF_3, place=st.integers(0, 2))
def test_an_unclosed_quote_costs_one_record_wherever_it_stands(read, before, after, place):
    broken = ["k", "l", "m"]
    broken[place] = '"' + broken[place]
    content = "".join(write_rows(before)).lstrip("\ufeff") + ";".join(broken) + "\n" + "".join(write_rows(after)).lstrip("\ufeff")
    records = read(content, "a;b;c\n")
    assert [tuple(cells) for _, cells, fault in records if fault is None] == [*before, *after]
    assert len(refused(records)) == 1


def test_cells_and_records_are_bounded_and_reading_goes_on_behind(read):
    big, bigger = "x" * CELL_MAX, "y" * (CELL_MAX + 1)
    records = read(f'1,{big},c\n2,{bigger},c\n3,"{bigger}",c\n4,b,c\n')
    assert [line for line, *_ in good(records)] == [2, 5] and refused(records) == [3, 4]

    line_too_long = "z" * (2 * RECORD_MAX + 7)
    assert good(read(f'1,{line_too_long},c\n2,b,c\n3,"b\nb",c\n4,b,c\n'))[-1] == (6, "4", "b", "c")
    open_quote = '1,"b,c\n' + f"{'y' * 1000},b,c\n" * 5000  # more than a record may have
    records = read(open_quote)
    assert len(good(records)) == 5000 and refused(records) == [2]


def test_reading_is_linear_and_small(tmp_path):
    """Unclosed quotes in every second record: each line is read twice, and few are held."""
    path = tmp_path / "file.csv"
    path.write_text("a,b,c\n" + ('1,"b,c\n' + "2,b,c\n") * 100_000)
    tracemalloc.start()
    before = time.monotonic()
    count = sum(record.fault is None for record in open_csv(path, REQUIRED).records())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 100_000 and peak < 20 * 2**20 and time.monotonic() - before < 30


# Files that are refused as a whole

def test_a_bad_byte_is_named_by_its_line_also_across_blocks(read, monkeypatch):
    monkeypatch.setattr(text_sample, "CHUNK", 61)
    text = "a,b,c\n" + "1,è€𝄞,c\n" * 20
    assert len(good(read(text.encode()))) == 20
    with pytest.raises(ValidationError, match="NUL byte in line 22"):
        read(text.encode() + b"2,\0,c\n")
    with pytest.raises(ValidationError, match="damaged: line 22"):
        read(text.encode() + b"2,\xe8,c\n")
    with pytest.raises(ValidationError, match="damaged: line 21"):
        read(text.encode()[:-5])


def test_utf8_with_damage_is_not_taken_for_windows_1252(read):
    with pytest.raises(ValidationError, match="UTF-8 but damaged: line 4"):
        read("a,b,c\n1,perché,c\n2,è già,c\n".encode() + b"3,citt\xe0,c\n")
    with pytest.raises(ValidationError, match="UTF-8 but damaged: line 2"):
        read(b"\xef\xbb\xbfa,b,c\n1,caf\xe9,c\n")
    assert good(read(b"a,b,c\n1,CAF\xc9\x94,c\n2,citt\xe0,c\n")) == [(2, "1", "CAFÉ”", "c"), (3, "2", "città", "c")]


def test_a_header_that_is_broken_or_too_wide(read):
    with pytest.raises(ValidationError, match="cannot be read: A quote is not closed"):
        read(b'a,b,"c\n1,2,3\n')
    with pytest.raises(ValidationError, match="at most 1000"):
        read(b"a,b,c" + b",d" * 2000 + b"\n")
    with pytest.raises(ValidationError, match="cannot be read: A cell is longer"):
        read(b"a" * (RECORD_MAX + 5))


# What is no fault

@pytest.fixture
def liberal(tmp_path):
    """Records of a whole file whose column c is the last that is required."""

    def reading(content: str | bytes, **options) -> list[tuple]:
        path = tmp_path / "file.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return [(r.line, r.cells, r.fault) for r in open_csv(path, REQUIRED, **options).records()]

    return reading


@pytest.mark.parametrize("more", [";", ";;;;;;;", "; ; ;\t;", ';"";""', ";\u200b;\xa0"])
def test_empty_cells_too_many_at_the_end_are_cut_and_full_ones_are_a_fault(liberal, more):
    assert liberal(f"a;b;c;d\n1;2;3;4{more}\n5;6;7;8\n") == [(2, ["1", "2", "3", "4"], None), (3, ["5", "6", "7", "8"], None)]
    ((_, _, fault),) = liberal(f"a;b;c;d\n1;2;3;4{more};x\n")
    assert fault.startswith("Too many cells")


def test_missing_cells_at_the_end_are_empty_when_they_may_be(liberal):
    rows = liberal("a;b;c;d;e\n1;2;3\n1;2;3;4\n1;2\n")
    assert rows[:2] == [(2, ["1", "2", "3", "", ""], None), (3, ["1", "2", "3", "4", ""], None)]
    assert rows[2][2] == "Too few cells: 2, the first line names 5."
    assert liberal("d;c;b;a\n1;2;3\n")[0][2].startswith("Too few cells: 3")


def test_a_quote_left_open_does_not_swallow_rows_that_lack_optional_cells(liberal):
    rows = liberal('a;b;c;d;e\n1;b;"c\n2;b;c\n3;b;c\n4;b;24"\n5;b;c\n')
    assert [line for line, _, fault in rows if fault is None] == [3, 4, 5, 6] and rows[0][2].startswith("A quote is not closed")


@pytest.mark.parametrize("blank", [";;", ";;;;;", " ; ; ", '"";"";""', "\u200b;\xa0;\ufeff", "\t;;", '" ";'])
def test_rows_of_separators_and_blanks_are_no_rows(liberal, blank):
    assert liberal(f"{blank}\na;b;c\n1;2;3\n{blank}\n{blank}\n4;5;6\n{blank}") == [(3, ["1", "2", "3"], None), (6, ["4", "5", "6"], None)]


@pytest.mark.parametrize(("hint", "delimiter"), [
    ("sep=;", ";"), ("SEP=,", ","), ("sep=\t", "\t"), ("sep=\\t", "\t"), ('"sep=;"', ";"), ("sep=|", "|"), ("sep=;;;;", ";"), ("sep=", ";"), ('"sep=,",,', ","),
])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\r\n", "\n", "\r"])
def test_a_hint_for_spreadsheets_is_obeyed(liberal, hint, delimiter, encoding, newline):
    content = newline.join([hint, *(delimiter.join(row) for row in (REQUIRED, ("1", "città", "è")))])
    assert liberal(content.encode(encoding)) == [(3, ["1", "città", "è"], None)]


def test_a_hint_that_is_wrong_is_not_obeyed_and_a_column_may_be_called_so(liberal):
    assert liberal("sep=;\na,b,c\n1,2,3\n") == [(3, ["1", "2", "3"], None)]
    assert liberal("a;b;c;sep=;\n1;2;3;4;5\n")[0][1] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("unseen", ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\xad", "\xa0", "\u200e", "\u202f", "\u180e", "\u3000", "\t ", "\u034f", "\x1a", "\u2800"])
def test_invisible_characters_around_names_do_not_count(liberal, unseen, tmp_path):
    content = f"{unseen}A{unseen};{unseen} b;C {unseen};{unseen}note{unseen}\n1;2;3;4\n"
    assert liberal(content) == [(2, ["1", "2", "3", "4"], None)]
    assert open_csv(tmp_path / "file.csv", REQUIRED).columns == ("A", "b", "C", "note")
    with pytest.raises(ValidationError, match="named twice"):
        liberal(f"a;b;c;{unseen}a\n1;2;3;4\n")


@pytest.mark.parametrize("newline", ["\r", "\n", "\r\n"])
def test_lines_are_counted_whatever_ends_them_also_in_sentences(liberal, newline, monkeypatch):
    monkeypatch.setattr(text_sample, "CHUNK", 7)
    rows = newline.join(["a,b,c", "1,2,3", "", '2,"two', 'lines",3', "x", "3,4,5"])
    assert [line for line, _, _ in liberal(rows)] == [2, 4, 6, 7]
    for last, sentence in ((b"\0", "NUL byte in line 8"), (b"\xff\xff", "line 8")):
        with pytest.raises(ValidationError, match=sentence):
            liberal(f"{rows}{newline}".encode() + b"\xc3\xa8" * 9 + last)


def test_a_column_is_mapped_by_hand(liberal):
    columns = {"Codice": "a", "TITOLO": "B", "note": "remarks"}
    content = "codice;titolo;c;Note;b\n1;2;3;4;5\n"
    assert liberal(content, columns=columns) == [(2, ["1", "2", "3", "4", "5"], None)]
    for wrong, sentence in (({"x": "a"}, "no such column"), ({"codice": "a", "Codice ": "b"}, "read once"), ({"codice": " "}, "read once"),
                            ({"codice": "b", "titolo": "b"}, "read once"), ({"titolo": "c"}, "no column a")):
        with pytest.raises(ValidationError, match=sentence):
            liberal(content, columns=wrong)


# Out, and in again

@pytest.mark.parametrize("formula", ["=1+1", "+39 055", "-5", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_leave_guarded_and_come_back_as_they_were(formula):
    assert guard(formula)[0] == "'" and guard(formula).replace("'", "") == formula and unguard(guard(formula)) == formula
    assert guard(guard(formula))[:2] == "''" and unguard(guard(guard(formula))) == guard(formula)


@pytest.mark.parametrize("formula", ["=1+1", "+39", "-5", "@A1", "＝1", '"=1"', "'=1", "'\"+1"])
@pytest.mark.parametrize("before", [";", "\t", "\n", "\r\n", ",", "text;", "a\tb\t", "l1\n", ";;"])
def test_formulas_behind_a_separator_inside_a_cell_are_guarded_too(formula, before):
    """A spreadsheet that splits there, as with another list separator, would run them."""
    guarded = guard(before + formula)
    assert f"{before}'{formula}" in guarded and unguard(guarded) == before + formula


@pytest.mark.parametrize("text", ["1;'2", "it's; '-' and '+'", "cut -d,'-f1' and ,-f2", "don't;'", "a,'b"])
def test_what_another_program_wrote_is_not_taken_for_guarded(text):
    assert unguard(text) == text


@pytest.mark.parametrize("text", ["", "'", "'quoted'", "l'=x", " =1", "12", "a=b"])
def test_other_cells_are_left_alone(text):
    assert guard(text) == text == unguard(text)


def test_a_spreadsheet_sees_no_formula_and_none_is_an_empty_cell():
    text = "".join(write_rows([("=1", None, 5, -5), ('say "hi"', "a;b", "l1\nl2", "é"), (1.5, Decimal(5).scaleb(-9), Decimal("-2.50"), "1.5")]))
    assert text == '\ufeff\'=1;;5;-5\r\n"say ""hi""";"a;b";"l1\nl2";é\r\n1,500000;0,000000005;-2,50;1.5\r\n'


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\t\r\n'=+-@\","), max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(TEXT, min_size=3, max_size=3), max_size=6))
def test_what_is_written_is_read_back(tmp_path, rows):
    path = tmp_path / "file.csv"
    path.write_bytes("".join(write_rows([REQUIRED, *rows])).encode())
    full = [row for row in rows if not all(map(is_empty, row))]  # rows of blanks and invisible characters are no rows
    assert [record.cells for record in open_csv(path, REQUIRED).records()] == full
    plain = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), delimiter=";"))[1:]
    assert [[unguard(cell) for cell in row] for row in plain] == rows
