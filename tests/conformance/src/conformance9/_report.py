"""The report: what became of each clause, for the terminal, as JSON and as a page.

The status of a clause:

    fail         a test found it broken
    pass         at least one test of it ran, and none found it broken
    not claimed  its tests need capabilities that the implementation does not claim
    untested     no test of it ran, with the reason: it can't be seen from outside, or the environment lacks something
"""

from __future__ import annotations

import dataclasses
import html
import json
import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

from .clauses import CLAUSES, LINK

if TYPE_CHECKING:
    from ._adapters import Implementation

__all__ = ["Report", "Result"]

STATUSES = ("pass", "fail", "not claimed", "untested")


@dataclasses.dataclass(frozen=True)
class Result:
    """What one phase of one test came to."""

    implementation: int
    test: str
    clauses: list[str]
    outcome: str
    broke: list[str]
    missing: list[str]
    detail: str
    seconds: float
    replay: str


@dataclasses.dataclass
class Row:
    """One clause in the table."""

    clause: str
    status: str
    tests: int
    note: str


class Report:
    """Results of the whole run, by implementation."""

    def __init__(self, implementations: list[Implementation], seed: int, thorough: bool, complete: bool) -> None:
        self.implementations = implementations
        self.seed = seed
        self.thorough = thorough
        self.complete = complete
        self.results: list[Result] = []
        #: Tests that took the process down; it is not known for which implementation.
        self.crashes: list[str] = []

    @property
    def empty(self) -> bool:
        """True if no test of the suite ran."""
        return not self.results

    def add(self, result: Result) -> None:
        """Take one more result."""
        self.results.append(result)

    def rows(self, number: int) -> list[Row]:
        """The table of implementation `number`."""
        mine = [result for result in self.results if result.implementation == number]
        layer = self.implementations[number].layer
        return [_row(name, mine) for name, clause in CLAUSES.items() if clause.layer == layer]

    def counts(self, number: int) -> dict[str, int]:
        """How many clauses have each status."""
        statuses = [row.status for row in self.rows(number)]
        return {status: statuses.count(status) for status in STATUSES}

    def badge(self, number: int) -> dict[str, Any]:
        """The badge of implementation `number`, in the form that badge services take (an endpoint badge)."""
        counts = self.counts(number)
        message = f"{counts['pass']} pass, {counts['fail']} fail, {counts['not claimed']} not claimed"
        if self.crashes:
            message += f", {len(self.crashes)} crashed"
        colour = "red" if counts["fail"] or self.crashes else "brightgreen" if not counts["not claimed"] else "green"
        label = f"conformance9 {self.implementations[number].layer}"
        return {"schemaVersion": 1, "label": label, "message": message, "color": colour}

    # --- forms

    def write_terminal(self, out: Any, full: bool) -> None:
        """Print tables (`full`) or one line for each implementation to pytest's terminal reporter."""
        out.section("conformance9")
        for number, tested in enumerate(self.implementations):
            if not any(result.implementation == number for result in self.results):
                continue
            if full:
                for row in self.rows(number):
                    colour = {"pass": "green", "fail": "red"}.get(row.status, "yellow")
                    line = f"{row.clause:6} {row.status:12}"
                    out.write(line, **{colour: True})
                    out.write_line(f"{_count(row.tests):9} {row.note or CLAUSES[row.clause].text}".rstrip())
            badge = self.badge(number)
            for name in self.crashes:
                out.write_line(f"the process died in {name}", red=True)
            out.write_line(f"{badge['label']}: {badge['message']} ({tested.name}, seed {self.seed})")

    def as_dict(self) -> dict[str, Any]:
        """Everything."""
        runs = []
        for number, tested in enumerate(self.implementations):
            runs.append(
                {
                    "layer": tested.layer,
                    "implementation": tested.name,
                    "adapter": tested.spec,
                    "claims": sorted(tested.claims),
                    "badge": self.badge(number),
                    "counts": self.counts(number),
                    "clauses": [
                        {**dataclasses.asdict(row), "text": CLAUSES[row.clause].text} for row in self.rows(number)
                    ],
                    "tests": [_plain(result) for result in self.results if result.implementation == number],
                }
            )
        return {"suite": f"conformance9 {_version()}", **self._circumstances(), "runs": runs}

    def as_json(self) -> str:
        """Everything, for programs."""
        return json.dumps(self.as_dict(), indent=1) + "\n"

    def as_html(self) -> str:
        """A page that needs nothing else, to put into one's documentation."""
        facts = "; ".join(f"{key} {value}" for key, value in self._circumstances().items())
        parts = [_HEAD, f"<p>conformance9 {_version()}; {html.escape(facts)}</p>"]
        for number, tested in enumerate(self.implementations):
            if not any(result.implementation == number for result in self.results):
                continue
            badge = self.badge(number)
            parts.append(f"<h2>{html.escape(tested.name)}: {tested.layer}</h2>")
            parts.append(f"<p class={badge['color']}>{html.escape(badge['message'])}</p>")
            parts.append(f"<p>Claims: {html.escape(', '.join(sorted(tested.claims)) or 'the core only')}.</p>")
            parts.append("<table><tr><th>clause<th>requires<th>status<th>tests<th>note")
            for row in self.rows(number):
                style = row.status.replace(" ", "")
                parts.append(
                    f'<tr class={style}><td><a href="{LINK}#{row.clause.lower()}">{row.clause}</a>'
                    f"<td>{html.escape(CLAUSES[row.clause].text)}<td>{row.status}<td>{row.tests or ''}"
                    f"<td>{html.escape(row.note)}"
                )
            parts.append("</table>")
        return "\n".join([*parts, "</html>", ""])

    def _circumstances(self) -> dict[str, Any]:
        gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        return {
            "python": platform.python_version() + ("" if gil else " free-threaded"),
            "system": f"{platform.system()} {platform.machine()}",
            "seed": self.seed,
            "thorough": self.thorough,
            "complete": self.complete,
            "crashes": self.crashes,
        }


def _row(name: str, results: list[Result]) -> Row:
    about = [result for result in results if name in result.clauses or name in result.broke]
    broken = [result for result in about if name in result.broke]
    ran = {result.test for result in about if result.outcome == "passed"}
    missing = sorted({capability for result in about for capability in result.missing})
    skipped = [result.detail for result in about if result.outcome == "skipped" and not result.missing]
    if broken:
        first = broken[0].detail.strip().split("\n")[0]
        return Row(name, "fail", len(ran) + len({result.test for result in broken}), f"{broken[0].test}: {first}")
    notes = [f"not claimed: {', '.join(missing)}"] if missing else []
    notes += sorted(set(skipped))
    if ran:
        return Row(name, "pass", len(ran), "; ".join(notes))
    if missing:
        return Row(name, "not claimed", 0, "; ".join(notes))
    reason = "; ".join(notes) or CLAUSES[name].untested or "no test of it was selected"
    return Row(name, "untested", 0, reason)


def _plain(result: Result) -> dict[str, Any]:
    outcome = "not claimed" if result.missing else result.outcome
    record = dataclasses.asdict(result)
    del record["implementation"]
    return {**record, "outcome": outcome, "seconds": round(result.seconds, 3)}


def _count(tests: int) -> str:
    return f"{tests} test{'s' if tests != 1 else ''}" if tests else ""


def _version() -> str:
    try:
        return metadata.version("conformance9")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "(not installed)"


_HEAD = """<!doctype html>
<html lang=en>
<meta charset=utf-8>
<title>conformance9 report</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #ddd; padding: .3em .6em; text-align: left; vertical-align: top }
td:nth-child(3) { white-space: nowrap; font-weight: 600 }
.pass td:nth-child(3), .brightgreen, .green { color: #187a2f }
.fail td:nth-child(3), .red { color: #b3261e }
.notclaimed td:nth-child(3), .untested td:nth-child(3) { color: #8a6d00 }
</style>
<h1>Conformance report</h1>"""
