"""Sentences for whoever reads them: the language of the request, English on the command line and in workers.

What workers and the monitor write into the database is English; `retell` finds the sentence it was made from and
tells it again in the reader's language. A sentence that is not in the list stays as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from flask import has_request_context
from flask_babel import gettext

LONGEST, DEEPEST = 20_000, 3  # characters of a sentence of ours; sentences within sentences
_NAMED = re.compile(r"%\((\w+)\)s")


def translate(text: str, **values: Any) -> str:
    """`text` with `%(name)s` filled in, translated when a person's request is being answered."""
    if has_request_context():
        return gettext(text, **values)
    return text % values if values else text


def translate_stored(text: str | None, depth: int = 0) -> str | None:
    """A stored sentence in the reader's language."""
    if not text or depth >= DEEPEST or len(text) > LONGEST or not has_request_context():
        return text
    for parts, names, template in _patterns():
        values = _fill(parts, text)
        if values is not None:
            return gettext(template, **{name: translate_stored(value, depth + 1) for name, value in zip(names, values, strict=True)})
    return text


def _fill(parts: tuple[str, ...], text: str) -> list[str] | None:
    """What stands in `text` between the fixed parts of a sentence, each at least one character; None when it is another sentence.

    Each part is taken at its first place, so the text is passed once, where a pattern with several `.+?` goes back and forth.
    """
    if len(parts) == 1:
        return [] if text == parts[0] else None
    first, *middle, last = parts
    if not text.startswith(first) or not text.endswith(last):
        return None
    values, at, end = [], len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at + 1, end)
        if found < 0:
            return None
        values.append(text[at:found])
        at = found + len(part)
    return [*values, text[at:end]] if at < end else None


@cache
def _patterns() -> list[tuple[tuple[str, ...], tuple[str, ...], str]]:
    """For each sentence: its fixed parts, and the names of what stands between them."""
    return [(tuple(_NAMED.split(t)[::2]), tuple(_NAMED.findall(t)), t) for t in _stored()]


def _stored(_: Callable[[str], str] = lambda text: text) -> tuple[str, ...]:
    """Sentences that are written by others than the web; the more particular ones first."""
    return (
        _("sign in"), _("sign out"), _("sign-in failed"), _("sign out everywhere"), _("end session"),
        _("create account"), _("change password"), _("change role"), _("disable account"), _("enable account"),
        _("unlock account"),
        _("unknown account"), _("many accounts"), _("attempts: %(n)s"), _("attempts forgotten: %(n)s"),
        _("sessions ended: %(n)s"), _("sessions ended"),
        _("the process is gone"), _("unheard for %(n)s s and standing still"), _("unheard for %(n)s s"), _("frozen"), _("busy, not reporting"),
        _("stopped by hand; started again"), _("stopped by hand; then its consumer ended"), _("stopped by hand"),
        _("restarted by hand"), _("killed by hand"), _("restored from a backup"), _("stopped"),
        _("recycled: %(n)s MB over its start, limit %(limit)s MB"), _("its worker lives but no longer holds it"),
        _("timeout after %(n)s s"), _("timeout after %(n)s s; then its worker ended: %(why)s"),
        _("timeout after %(n)s s; the job did not stop and its worker was killed"), _("Over its time limit."),
        _("Held by %(name)s."), _("Cancelled by %(name)s."), _("Its type is paused."), _("Stopped by hand; its worker was killed."),
        _("Cancelled while a worker was stopping."), _("Stopped on request."), _("Stopped after killing its worker %(n)s times. Last: %(why)s"),
        _("Stopped after it was lost %(n)s times. Last: %(why)s"),
        _("its worker went on without writing an outcome"), _("Its outcome could not be written (%(why)s)."),
        _("The worker could not tell its outcome (%(why)s)."), _("%(name)s: its text cannot be shown (%(why)s in its own code)"),
        _("The delay of %(name)s must be a number, not %(value)s."), _("The delay of %(name)s must be a finite number, not %(value)s."),
        _("The delay of %(name)s must be at most %(n)s seconds (366 days), not %(value)s."),
        _("The eta of RetryTask must be a datetime, not %(value)s."), _("The eta of RetryTask is no time that can be waited for."),
        _("%(why)s It counts as a failure. (%(error)s)"),
        _("replaced: an outcome could not be written"), _("its worker"),
        _("Write a text with OpenAI; with a reference it becomes that content's body."),
        _("Import a file of contents: returns the counts of all attempts of this round, and the encoding it was read in."),
        _("No job type %(name)s is known here. Deploy the code that declares it, or delete the job."),
        _("The arguments no longer fit %(name)s: %(why)s Edit and retry, or delete the job."),
        _("%(job)s has no argument %(names)s; it takes %(known)s."), _("%(job)s needs %(names)s."), _("%(name)s must be %(wanted)s, not %(value)s."),
        _("The uploaded file of %(name)s is no longer there. Upload it again with a new job."),
        _("The file has no column %(missing)s. Its first line must name the columns %(columns)s, separated by comma, semicolon or tab; "
          "it has: %(found)s."),
        _("The file is empty. Its first line must name the columns %(columns)s."),
        _("reference, title and body"), _("reference and title"), _("reference and body"), _("title and body"),
        _("The first line, which names the columns, cannot be read: %(why)s"),
        _("The first line names %(n)s columns; at most %(most)s are read. Remove some."),
        _("The column %(name)s is named twice in the first line. Rename or remove one of them."),
        _("The column %(name)s as %(target)s cannot be read: the file has no such column. Choose the columns again."),
        _("The column %(name)s as %(target)s cannot be read: each column is read once, as one name. "
          "Choose the columns again."),
        # The next two are written no more; they stand in the history.
        _("The first line is a hint for a spreadsheet program (sep=). Delete it: the first line must name the columns."),
        _("The file is UTF-16 or UTF-32 text (some programs say 'Unicode'), which is not read. "
          "Save it again as CSV UTF-8 and upload that file."),
        _("The file has a NUL byte in line %(n)s, so it is damaged or no text. Save it again as CSV UTF-8 and upload that file."),
        _("The file is UTF-8 but damaged: line %(n)s has a byte that does not belong there, and read as Windows-1252 its accents would be wrong. "
          "Save it again as CSV UTF-8 and upload that file."),
        _("The file is not %(name)s, or damaged: line %(n)s cannot be read in it. "
          "Choose another encoding, or save it as CSV UTF-8."),
        _("The file may be in %(names)s, and its text does not tell which. "
          "Import it again with the encoding in which these lines are right, or save it as CSV UTF-8.\n%(lines)s"),
        _("The file is neither UTF-8 (line %(a)s) nor Windows-1252 (line %(b)s). Save it again as CSV UTF-8 and upload that file."),
        _("The file is not UTF-8 (line %(n)s), and in no encoding that is known here is it a text. "
          "Save it again as CSV UTF-8 and upload that file."),
        _("The file seems to be in %(name)s, which is not read. Save it again as CSV UTF-8 and upload that file."),
        _("The file is %(kind)s, not CSV. Open it in its program and save it as CSV UTF-8."),
        _("an Excel workbook or a ZIP archive"), _("an Excel workbook"), _("a PDF"), _("a compressed file"),
        _("a picture"), _("a database"),
        _("Empty cell in a required column: %(names)s."),
        _("The reference has %(n)s characters; at most %(most)s are allowed."),
        _("Too few cells: %(n)s, the first line names %(width)s."),
        _("Too many cells: %(n)s, the first line names %(width)s."),
        _("A cell is longer than 1 MB or the record longer than 4 MB, or a quote is not closed."),
        _("A quote is not closed, or text follows a closing quote. A quote inside quotes is written twice."),
        _("A quote is not closed: the lines that follow are records of their own."),
        _("The reference %(name)s stands again in line %(n)s: that row counts, this one changed nothing."),
        _("Checking the file: %(n)s records read"), _("%(done)s of %(total)s records"),
        _("Stopped on request behind record %(n)s; what was imported until then stays."),
        _("A later round of this import is under way."),
        _("The worker stopped while the API answered. It may have been paid; what came is kept. Retry asks for a new one, which is paid again."),
        _("Stopped on request. It may have been paid; what came is kept. Retry asks for a new one, which is paid again."),
        _("The answer broke off (%(why)s). It may have been paid; what came is kept. Retry asks for a new one, which is paid again."),
        _("The model refused to write this. It was paid and is kept; retry asks for a new one, which is paid again."),
        _("The model refused to write this. %(why)s It was paid and is kept; retry asks for a new one, which is paid again."),
        _("The answer was cut at the model's length limit. It was paid and is kept; retry asks for a new one, which is paid again."),
        _("The answer is empty. It was paid and is kept; retry asks for a new one, which is paid again."),
        _("the stream ended early"), _("no end within %(n)s s"), _("The API did not answer within %(n)s s."),
        _("The connection to the API failed (%(why)s)."), _("The API asks to wait %(n)s s (429)."),
        _("The account's limit of %(n)s requests a minute is reached."), _("OPENAI_API_KEY is not set for the workers."),
        _("The API refused the key (401). Set OPENAI_API_KEY for the workers and restart them. %(why)s"),
        _("The account's quota is used up (insufficient_quota). Raise it, then retry. %(why)s"),
        _("The API does not know this model or address (404). %(why)s"), _("The API refused the request (%(n)s). %(why)s"),
        _("The API answered with a redirect (%(n)s), which is not followed: correct OPENAI_BASE_URL."), _("The API answered %(n)s. %(why)s"),
        _("The API refused the key (401). Set OPENAI_API_KEY for the workers and restart them."),
        _("The API refused this account (403)."), _("The API refused this account (403). %(why)s"),
        _("The account's quota is used up (insufficient_quota). Raise it, then retry."),
        _("The API does not know this model or address (404)."), _("The API refused the request (%(n)s)."),
        _("The API answered %(n)s."),
        _("The request cannot be sent (%(why)s): correct OPENAI_BASE_URL and OPENAI_API_KEY."),
        _("an event that cannot be read"),
        _("longer than %(n)s characters"), _("longer than %(n)s bytes"), _("error: %(why)s"),
        _("The server does not take every part of the request; it is asked again without."),
        _("There is no content %(name)s. The text is kept with the generation: import the content, then retry; nothing is paid again."),
        _("A demo asks no real model. For one that answers, set OPENAI_BASE_URL to scripts/fake-openai.py on 127.0.0.1."),
        _("There is no prompt template %(name)s. Create it, or choose another, then retry."),
        _("The monthly budget of %(tenant)s is spent (%(spent)s)."),
        _("no monitor had this channel for 8 days"),
        _("The file is not text: it is full of control characters. Upload a CSV file saved as UTF-8 text."),
        _("%(worker)s: %(why)s"),  # the last: it fits many
    )
