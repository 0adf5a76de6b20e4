"""The report: what became of each clause, for the terminal, as JSON and as a page.

The status of a clause:

    fail         a test found it broken, or took the process down, or did not end
    pass         all its tests have run, apart from those that say why they can't, and none found it broken
    not claimed  its tests need capabilities that the implementation does not claim
    not tested   the suite has no test of it, or not all of them have run; with the reason
"""

from __future__ import annotations

import dataclasses
import html
import json
import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ._catalogue import tests_of
from .clauses import CLAUSES, clauses_of

if TYPE_CHECKING:
    from ._adapters import Implementation

__all__ = ["Report", "Result"]

STATUSES = ("pass", "fail", "not claimed", "not tested")


@dataclasses.dataclass(frozen=True)
class Result:
    """What one phase of one test came to."""

    implementation: int
    file: str
    test: str
    clauses: list[str]
    outcome: str
    """pytest's word, or ``"crashed"`` if it took the process down."""
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
    absent: int
    """Tests that should have run and have not."""
    note: str


class Report:
    """Results of the whole run, by implementation."""

    def __init__(self, implementations: list[Implementation], seed: int, thorough: bool) -> None:
        self.implementations = implementations
        self.seed = seed
        self.thorough = thorough
        self.results: list[Result] = []
        #: Where the process died: in which tests, or otherwise when.
        self.crashes: list[str] = []

    @property
    def empty(self) -> bool:
        """True if no test of the suite ran."""
        return not self.results and not self.crashes

    @property
    def tested(self) -> list[tuple[int, Implementation]]:
        """The implementations that any test ran with, and their numbers."""
        seen = {result.implementation for result in self.results}
        return [(number, each) for number, each in enumerate(self.implementations) if number in seen]

    @property
    def complete(self) -> bool:
        """True if every test that there is has run with each implementation."""
        return not any(row.absent for number, _ in self.tested for row in self.rows(number))

    def add(self, result: Result) -> None:
        """Take one more result."""
        self.results.append(result)

    def rows(self, number: int) -> list[Row]:
        """The table of implementation `number`."""
        mine = [result for result in self.results if result.implementation == number]
        layer = self.implementations[number].layer
        return [_row(name, mine, self._due(layer, name)) for name in clauses_of(layer)]

    def _due(self, layer: str, clause: str) -> set[tuple[str, str]]:
        """The tests of a clause that have to run before it can pass."""
        tests = [test for test in tests_of(layer) if clause in test.clauses and (self.thorough or not test.thorough)]
        return {(test.file, test.name) for test in tests}

    def counts(self, number: int) -> dict[str, int]:
        """How many clauses have each status."""
        statuses = [row.status for row in self.rows(number)]
        return {status: statuses.count(status) for status in STATUSES}

    def badge(self, number: int) -> dict[str, Any]:
        """The badge of implementation `number`, in the form that badge services take (an endpoint badge)."""
        counts = self.counts(number)
        message = ", ".join(f"{count} {status}" for status, count in counts.items())
        if self.crashes:
            message += f", {len(self.crashes)} crashed"
        if counts["fail"] or self.crashes:
            colour = "red"
        elif not counts["pass"] or not self.complete:
            colour = "lightgrey"
        else:
            colour = "green" if counts["not claimed"] or counts["not tested"] else "brightgreen"
        label = f"conformance9 {self.implementations[number].layer}"
        return {"schemaVersion": 1, "label": label, "message": message, "color": colour}

    # --- forms

    def write_terminal(self, out: Any, full: bool) -> None:
        """Print tables (`full`) or one line for each implementation to pytest's terminal reporter."""
        out.section("conformance9")
        for name in self.crashes:
            out.write_line(f"the process died: {name}", red=True)
        for number, tested in self.tested:
            if full:
                for row in self.rows(number):
                    colour = {"pass": "green", "fail": "red"}.get(row.status, "yellow")
                    line = f"{row.clause:6} {row.status:12}"
                    out.write(line, **{colour: True})
                    out.write_line(f"{_count(row.tests):9} {row.note or CLAUSES[row.clause].text}".rstrip())
            badge = self.badge(number)
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
        for number, tested in self.tested:
            badge = self.badge(number)
            parts.append(f"<h2>{html.escape(tested.name)}: {tested.layer}</h2>")
            parts.append(f"<p class={badge['color']}>{html.escape(badge['message'])}</p>")
            parts.append(f"<p>Claims: {html.escape(', '.join(sorted(tested.claims)) or 'the core only')}.</p>")
            parts.append("<table><tr><th>clause<th>requires<th>status<th>tests<th>note")
            for row in self.rows(number):
                style = row.status.replace(" ", "")
                parts.append(
                    f"<tr class={style}><td>{row.clause}"
                    f"<td>{html.escape(CLAUSES[row.clause].text)}<td>{row.status}<td>{row.tests or ''}"
                    f"<td>{html.escape(row.note)}"
                )
            parts.append("</table>")
            parts += [_failure(result) for result in self.results if result.implementation == number and result.broke]
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


def _row(name: str, results: list[Result], due: set[tuple[str, str]]) -> Row:
    about = [result for result in results if name in result.clauses or name in result.broke]
    broken = [result for result in about if name in result.broke]
    ran = {result.test for result in about if result.outcome == "passed"}
    missing = sorted({capability for result in about for capability in result.missing})
    skipped = [result.detail for result in about if result.outcome == "skipped" and not result.missing]
    absent = len(due - {(result.file, result.test.partition("[")[0]) for result in about})
    if broken:
        first = broken[0].detail.strip().split("\n")[0]
        count = len(ran | {result.test for result in broken})
        return Row(name, "fail", count, absent, f"{broken[0].test}: {first}")
    notes = [f"not claimed: {', '.join(missing)}"] if missing else []
    notes += sorted(set(skipped))
    if absent:
        notes.insert(0, f"{absent} of its {_count(len(due))} did not run")
        status = "not tested"
    else:
        status = "pass" if ran else "not claimed" if missing else "not tested"
    return Row(name, status, len(ran), absent, "; ".join(notes) or CLAUSES[name].untested * (not ran))


def _failure(result: Result) -> str:
    """A failed test, for the page."""
    what = "took the process down" if result.outcome == "crashed" else "failed"
    return (
        f"<details><summary>{html.escape(result.test)} {what}: {', '.join(result.broke)}</summary>"
        f"<pre>{html.escape(result.detail)}</pre><p>Again: <code>{html.escape(result.replay)}</code></details>"
    )


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
pre { overflow-x: auto }
.notclaimed td:nth-child(3), .nottested td:nth-child(3) { color: #8a6d00 }
</style>
<h1>Conformance report</h1>"""
