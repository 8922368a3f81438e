"""Run the tests on all that this machine has, and say what was left out.

    python -m tests.run [--on PART ...] [arguments for pytest]

The parts are the three databases, and `versions`: the other versions of Python and
Django, by tox. With REQUIRE_SERVICES=1 in the environment all of them run, what is
missing is a failure, and so is every skipped test.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from tests import services

REQUIRE_SERVICES = bool(os.environ.get("REQUIRE_SERVICES"))
NO_TESTS_COLLECTED = 5

#: So few failures may be the machine's, on which all processors are busy: these tests
#: run once more, with nothing beside them. What passes then is named in the summary.
UNSTEADY = 3
#: In one process of xdist's, which has added their groups to their names.
ALONE = ("--last-failed", "--last-failed-no-failures=none", "--numprocesses=1")

OK, FAILED, NOT_RUN = "ok", "FAILED", "not run"

Service = Callable[[], AbstractContextManager[dict[str, str]]]


@dataclass(frozen=True)
class Database:
    title: str
    driver: str
    service: Service


DATABASES = {
    "sqlite": Database("SQLite", "sqlite3", nullcontext),
    "postgresql": Database("PostgreSQL", "psycopg", services.postgresql),
    "mariadb": Database("MariaDB", "MySQLdb", services.mariadb),
}
VERSIONS = "versions"


@dataclass
class Outcome:
    """One line of the summary, and below it what failed or was skipped."""

    title: str
    text: str
    status: str = OK
    failed: Sequence[str] = ()
    details: Sequence[str] = ()


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument(
        "--on",
        action="append",
        choices=[*DATABASES, VERSIONS],
        help="default: the databases; with REQUIRE_SERVICES=1 everything",
    )
    options, arguments = parser.parse_known_args()
    parts = options.on or [*DATABASES, *([VERSIONS] if REQUIRE_SERVICES else [])]

    # Leave by the `with` blocks below, which stop the services.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    outcomes = []
    coverage("erase")
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            if part == VERSIONS:
                outcomes += run_versions(Path(folder), arguments)
            else:
                outcomes.append(run_database(part, Path(folder), arguments))
        if VERSIONS not in parts:
            hint = f'make test ARGS="--on {VERSIONS}" runs them'
            outcomes.append(Outcome("Other Pythons and Djangos", hint, NOT_RUN))
    if parts != [VERSIONS]:
        enough = coverage("report") == 0
        if REQUIRE_SERVICES and not arguments and not options.on and not enough:
            outcomes.append(
                Outcome("Coverage", "less than pyproject.toml wants", FAILED)
            )

    print(f"\n{' summary ':=^72}")
    for outcome in outcomes:
        print(f"{outcome.status:7} {outcome.title}: {outcome.text}")
        failed = outcome.failed if outcome.status == FAILED else ()
        for detail in [*(f"failed: {test}" for test in failed), *outcome.details]:
            print(f"{'':10}{detail}")
    return int(any(outcome.status == FAILED for outcome in outcomes))


def run_database(name: str, folder: Path, arguments: Sequence[str]) -> Outcome:
    """SQLite's part is everything, the others' is what may differ on them."""
    database = DATABASES[name]
    if not find_spec(database.driver):
        return not_run(database.title, f"no module {database.driver}")
    announce(database.title)
    report = folder / f"{name}.xml"
    command = [
        *(sys.executable, "-m", "pytest", "--numprocesses=auto", "--dist=loadgroup"),
        *("--cov", "--cov-append", "--cov-report=", "--cov-fail-under=0"),
        f"--junit-xml={report}",
        *([] if name == "sqlite" else ["-m", "not browser and not once"]),
        *arguments,
    ]
    try:
        with database.service() as variables:
            environment = os.environ | (variables or {})

            def run(*more: str) -> Outcome:
                done = subprocess.run([*command, *more], env=environment, check=False)
                return read(
                    database.title, report, succeeds(done.returncode, arguments)
                )

            return settled(run(), lambda: run(*ALONE))
    except services.MissingError as missing:
        return not_run(database.title, str(missing))


def run_versions(folder: Path, arguments: Sequence[str]) -> Iterator[Outcome]:
    """Run tox; an interpreter that is not there is as any other missing part."""
    announce("Other versions of Python and Django")
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    results = folder / "tox.json"

    def run(names: str, *more: str) -> Iterator[Outcome]:
        subprocess.run(
            [
                *(sys.executable, "-m", "tox", "run", "--quiet", "-e", names),
                "--skip-missing-interpreters=true",
                f"--result-json={results}",
                *("--discover", sys.executable),
                *map(str, pyenv.glob("versions/3.*/bin/python")),
                *("--", *arguments, *more),
            ],
            env=os.environ | {"TEST_REPORTS": str(folder)},
            check=False,
        )
        for name, environment in json.loads(results.read_text())["testenvs"].items():
            if name.startswith("."):  # tox's own, that built the package
                continue
            result = environment["result"]
            if result["skipped"]:
                yield not_run(name, "no such interpreter")
            else:
                succeeded = succeeds(result["exit_code"], arguments)
                yield read(name, folder / f"{name}.xml", succeeded)

    for outcome in [*run("ALL")]:
        yield settled(outcome, lambda name=outcome.title: next(run(name, *ALONE)))


def settled(outcome: Outcome, again: Callable[[], Outcome]) -> Outcome:
    """The outcome, or a better one where what failed has passed `again`, alone."""
    if not 0 < len(outcome.failed) <= UNSTEADY:
        return outcome
    announce(f"{outcome.title}: alone, what has failed")
    if again().status == FAILED:
        return outcome
    unsteady = [f"passed alone, but failed at first: {test}" for test in outcome.failed]
    return replace(outcome, status=OK, details=[*unsteady, *outcome.details])


def succeeds(code: int, arguments: Sequence[str]) -> bool:
    """Whether pytest is content; a selection may leave out all tests of a part."""
    return code == 0 or (code == NO_TESTS_COLLECTED and bool(arguments))


def read(title: str, report: Path, succeeded: bool) -> Outcome:
    """What pytest's JUnit report says, in one line and one for each reason to skip."""
    if not report.exists():
        return Outcome(title, "no report", FAILED)
    [suite] = ElementTree.parse(report).getroot().iter("testsuite")
    skips = Counter(
        skip.attrib["message"]
        for skip in suite.iter("skipped")
        if skip.attrib["type"] == "pytest.skip"
    )
    failed = [
        f"{case.attrib['classname']}.{case.attrib['name']}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    failures, errors = int(suite.attrib["failures"]), int(suite.attrib["errors"])
    tests, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    passed, seconds = tests - failures - errors - skipped, float(suite.attrib["time"])
    return Outcome(
        title,
        f"{passed} passed, {failures} failed, {errors} errors, "
        f"{skips.total()} skipped in {seconds:.0f} s",
        OK if succeeded and not failures and not errors else FAILED,
        failed,
        [f"{count} skipped: {reason}" for reason, count in skips.most_common()],
    )


def not_run(title: str, reason: str) -> Outcome:
    return Outcome(title, reason, FAILED if REQUIRE_SERVICES else NOT_RUN)


def coverage(command: str) -> int:
    sys.stdout.flush()
    return subprocess.run(
        [sys.executable, "-m", "coverage", command], check=False
    ).returncode


def announce(title: str) -> None:
    print(f"\n{f' {title} ':#^72}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
