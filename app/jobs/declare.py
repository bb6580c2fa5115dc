"""`@job` and `@recurring`: how a function becomes a job type, and a type gets a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from app import registry
from app.registry import JobDefinition, Schedule
from app.services.jobs.dispatch import dispatch, dispatch_many
from app.signature import read_signature


@dataclass(frozen=True)
class Job(JobDefinition):
    """A declared type; `dispatch` writes a row in the caller's transaction."""

    def dispatch(self, **args: Any) -> str:
        """Write the job in the caller's transaction; returns its uuid.

        TypeError when arguments do not fit, RuntimeError outside an application context.
        """
        return dispatch(self, args, **self.given)

    def dispatch_many(self, many: Iterable[dict[str, Any]]) -> list[str]:
        """Write a job for each of the arguments, 10,000 in less than a second; returns their uuids. Errors as in
        `dispatch`; then none is written."""
        return dispatch_many(self, many, **self.given)


def job(name: str, **options: Any) -> Callable[[Callable[..., Any]], Job]:
    """Declare a job type; `options` as in `registry.Options`. Raises ValueError for a bad name, option or function, and
    when another file declares the same name."""
    chosen = registry.options_of(name, options)

    def declare(function: Callable[..., Any]) -> Job:
        definition = Job(name, function, chosen, *read_signature(name, function))
        registry.add(definition)
        return definition

    return declare


def recurring(cron: str, *, name: str | None = None, args: dict[str, Any] | None = None, catch_up: bool = False,
              overlap: str = "allow", **options: Any) -> Callable[[Job], Job]:
    """Above `@job(...)`: run it by a crontab schedule. `args` for each run; options as in `with_options`. `overlap`:
    while a job of an earlier run is live, the next one runs beside it ("allow"), is left out ("skip"), or waits until
    it has ended in any way ("wait"). Raises ValueError for a bad `cron` or `overlap` and for a second schedule of that
    name, InvalidArguments for bad `args`."""
    def declare(definition: Job) -> Job:
        given = definition.with_options(**options)
        registry.add_schedule(Schedule(name or definition.name, cron, given, args or {}, catch_up, overlap))
        return definition

    return declare
