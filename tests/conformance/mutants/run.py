"""Run the conformance suite against every mutant and say which test rejects it.

    python tests/conformance/mutants/run.py                    all, two at a time
    python tests/conformance/mutants/run.py --layer task -k timer
    python tests/conformance/mutants/run.py --json FILE --rst FILE

Each mutant has a pytest process of its own. First run the tests of the clauses that it breaks; if it survives those,
all of its layer. A test that hangs is ended by its own limit; a process that does not end is ended here and counts as
rejected too, named as such. Before all this the layers without a fault must pass with the same time limits: otherwise
a rejection would say nothing.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from catalogue import load  # noqa: E402
from mutation import LAYERS, Mutant  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: E402

SUITE = HERE.parent / "src" / "conformance9" / "suite"
ADAPTER = HERE / "mutant_adapter.py"
SEED = 9


@dataclasses.dataclass
class Verdict:
    """What became of one mutant."""

    layer: str
    mutant: str
    clauses: list[str]
    sentence: str
    outcome: str
    """``rejected``, ``hangs``, ``survived``, or ``error`` (no test ran)."""
    by: str
    """The test that rejected it."""
    broke: list[str]
    """The clauses that the suite found broken."""
    observed: str
    seconds: float
    excuse: str = ""


def suite(layer: str, mutant: str, words: list[str], scale: float, limit: float) -> tuple[str, str, list[str], str]:
    """One run of the suite: outcome, test, clauses broken, what was observed."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "report.json")
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "conformance9"),
            f"--confcutdir={SUITE}",  # as strangers run it: without the conftest.py of this repository's tests
            *("-o", "faulthandler_timeout=0", f"--conformance-adapter={ADAPTER}:{layer}"),
            *(f"--conformance-layer={layer}", f"--conformance-seed={SEED}", f"--conformance-report-json={report}"),
            *words,
        ]
        environment = {**os.environ, "CONFORMANCE9_MUTANT": mutant, "CONFORMANCE9_TIME_SCALE": str(scale)}
        log = Path(directory, "log")
        with log.open("w") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, cwd=directory, env=environment, start_new_session=True
            )
            deadline = time.monotonic() + limit
            # The report is written when the tests are over; threads that hang may keep the process for longer.
            while process.poll() is None and not _whole(report) and time.monotonic() < deadline:
                time.sleep(0.05)
            if process.poll() is None:
                time.sleep(0.2)
            try:
                os.killpg(process.pid, signal.SIGKILL)  # its own session: with what its tests have left behind
            except ProcessLookupError:
                pass
            process.wait()
        found = _whole(report)
        if not found:
            tail = log.read_text(errors="replace").strip().splitlines()[-1:] or [""]
            if time.monotonic() >= deadline or process.returncode == -signal.SIGKILL:
                return "hangs", "(the process)", [], tail[0]
            return ("rejected" if process.returncode < 0 else "error"), "(the process)", [], log.read_text()[-800:]
    run = found["runs"][0]
    for test in run["tests"]:
        if test["outcome"] in ("failed", "crashed"):
            hangs = "hang" in test["detail"] or "did not end" in test["detail"]
            return ("hangs" if hangs else "rejected"), test["test"], test["broke"], test["detail"].splitlines()[0]
    ran = any(test["outcome"] == "passed" for test in run["tests"])
    return ("survived" if ran else "error"), "", [], ""


def _whole(report: Path) -> dict[str, list[dict[str, list[dict[str, str]]]]]:
    try:
        return json.loads(report.read_text())  # type: ignore[no-any-return]  # our own format
    except (OSError, ValueError):
        return {}


def judge(mutant: Mutant, scale: float, limit: float, tries: int, whole: bool) -> Verdict:
    """The tests of its clauses first, then, if `whole`, all."""
    began = time.monotonic()
    for words in [[f"--conformance-clause={','.join(mutant.clauses)}", "-x"]] * tries + [["-x"]] * whole:
        outcome, by, broke, observed = suite(mutant.layer, mutant.name, words, scale, limit)
        if outcome != "survived":
            break
    seconds = round(time.monotonic() - began, 1)
    return Verdict(
        mutant.layer,
        mutant.name,
        list(mutant.clauses),
        mutant.sentence,
        outcome,
        by,
        broke,
        observed,
        seconds,
        mutant.excuse,
    )


def as_rst(verdicts: list[Verdict]) -> str:
    """Tables for the documentation, one for each layer."""
    lines: list[str] = []
    for layer in dict.fromkeys(verdict.layer for verdict in verdicts):
        mine = [verdict for verdict in verdicts if verdict.layer == layer]
        rejected = sum(verdict.outcome in ("rejected", "hangs") for verdict in mine)
        lines += [f"**{layer}**: {rejected} of {len(mine)} rejected.", ""]
        lines += [".. list-table::", "   :header-rows: 1", "   :widths: 24 10 42 24", ""]
        lines += ["   * - Mutant", "     - Clause", "     - Fault", "     - Rejected by"]
        for verdict in mine:
            by = f"``{verdict.by}``" if verdict.by.startswith("test") else verdict.by
            if verdict.outcome == "hangs":
                by += " (hangs)"
            elif verdict.outcome != "rejected":
                by = f"**{verdict.outcome}**: {verdict.excuse}"
            lines += [f"   * - {verdict.mutant}", f"     - {', '.join(verdict.clauses)}"]
            lines += [f"     - {verdict.sentence}", f"     - {by}, {verdict.seconds:g} s"]
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """The command line; 0 if each mutant without an excuse is rejected."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--layer", choices=list(LAYERS), help="only this layer's mutants")
    parser.add_argument("-k", default="", metavar="TEXT", help="only mutants with TEXT in their name")
    parser.add_argument("-n", type=int, default=2, help="how many at a time (2)")
    parser.add_argument("--scale", type=float, default=0.25, help="of the suite's time limits (0.25: 5 s)")
    parser.add_argument("--limit", type=float, default=150.0, help="seconds for one run of the suite (150)")
    parser.add_argument("--tries", type=int, default=1, help="runs of the clause's tests before the whole layer's (1)")
    parser.add_argument("--clause-only", action="store_true", help="do not run the whole layer against survivors")
    parser.add_argument(
        "--resume", action="store_true", help="judge only those that FILE of --json has not as rejected"
    )
    parser.add_argument("--no-control", action="store_true", help="do not run the layers without a fault first")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts there")
    parser.add_argument("--rst", type=Path, metavar="FILE", help="write the table for the documentation there")
    options = parser.parse_args()
    chosen = [
        mutant
        for mutant in load().values()
        if options.layer in (None, mutant.layer) and options.k.lower() in mutant.name.lower()
    ]
    console = Console(soft_wrap=True)
    verdicts: dict[str, Verdict] = {}
    if options.resume and options.json and options.json.exists():
        earlier = [Verdict(**each) for each in json.loads(options.json.read_text())]
        verdicts = {each.mutant: each for each in earlier if each.outcome in ("rejected", "hangs")}
    due = [mutant for mutant in chosen if mutant.name not in verdicts]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, concurrent.futures.ThreadPoolExecutor(options.n) as pool:
        if not options.no_control:
            layers = list(dict.fromkeys(mutant.layer for mutant in due))
            bar = progress.add_task("without a fault", total=len(layers))
            runs = {pool.submit(suite, layer, "", [], options.scale, 600.0): layer for layer in layers}
            for run in concurrent.futures.as_completed(runs):
                progress.advance(bar)
                outcome, by, _, observed = run.result()
                if outcome != "survived":
                    console.print(f"The {runs[run]} layer without a fault: {outcome}, {by}: {observed}", markup=False)
                    return 2
        bar = progress.add_task("mutants", total=len(due))
        how = (options.scale, options.limit, options.tries, not options.clause_only)
        judged = [pool.submit(judge, mutant, *how) for mutant in due]
        for done in concurrent.futures.as_completed(judged):
            verdict = done.result()
            verdicts[verdict.mutant] = verdict
            if options.json:  # each time, so that a run that is broken off can be resumed
                options.json.write_text(
                    json.dumps([dataclasses.asdict(each) for each in verdicts.values()], indent=1) + "\n"
                )
            progress.advance(bar)
            console.print(
                f"{verdict.outcome:9} {verdict.seconds:6.1f} s  {verdict.layer:10} {','.join(verdict.clauses):12} "
                f"{verdict.mutant}  [{verdict.by}] {verdict.observed[:800]}",
                markup=False,
                highlight=False,
            )
    found = [verdicts[mutant.name] for mutant in chosen]
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(each) for each in found], indent=1) + "\n")
    if options.rst:
        options.rst.write_text(as_rst(found))
    rejected = sum(verdict.outcome in ("rejected", "hangs") for verdict in found)
    console.print(f"{rejected} of {len(found)} mutants rejected")
    left = [each for each in found if each.outcome not in ("rejected", "hangs")]
    for verdict in left:
        console.print(f"{verdict.outcome}: {verdict.mutant} {verdict.excuse and f'({verdict.excuse})'}", markup=False)
    return int(any(not verdict.excuse for verdict in left))


if __name__ == "__main__":
    sys.exit(main())
