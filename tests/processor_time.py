"""The tests that cost most, by processor seconds: on a shared machine a test's duration says little.

python -m pytest -p tests.processor_time FILES

User and system time of this process and of those it has waited for, those of `tests/forked.py` among them; a fixture's
is that of the test that asked for it first. It works with `-n`, too. PROCESSOR_TIMES names a file that gets a line of
JSON a test, to put the runs of several files together:

python -m tests.processor_time TIMES.jsonl
"""

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import forked

SHOWN = 20
IMPORTS = "(imports and collection)"

_seconds: defaultdict[str, float] = defaultdict(float)


def _now() -> float:
    """Processor seconds since this process began."""
    total = sum(os.times()[:4]) + forked.seconds
    for server in forked.servers:
        fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(ticks) for ticks in fields[11:13]) / os.sysconf("SC_CLK_TCK")
    return total


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    began = _now()
    result = yield
    _seconds[item.nodeid] += _now() - began
    return result


def pytest_sessionfinish(session: pytest.Session) -> None:
    _seconds[IMPORTS] += _now() - sum(_seconds.values())
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["processor_seconds"] = dict(_seconds)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of xdist has ended."""
    for test, seconds in getattr(node, "workeroutput", {}).get("processor_seconds", {}).items():
        _seconds[test] += seconds


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if path := os.environ.get("PROCESSOR_TIMES"):
        with open(path, "a") as file:
            file.writelines(json.dumps({"test": test, "seconds": s}) + "\n" for test, s in _seconds.items())
    terminalreporter.write_line(table(_seconds))


def table(seconds: Mapping[str, float]) -> str:
    """Markdown: the dearest, the sum of all, and how many."""
    dearest = sorted(seconds.items(), key=lambda item: -item[1])[:SHOWN]
    rows = [f"| {s:.1f} | {test} |" for test, s in dearest]
    rows.append(f"| {sum(seconds.values()):.1f} | all {len(seconds.keys() - {IMPORTS})} tests |")
    return "\n".join(["| processor s | test |", "|---|---|", *rows])


def main(*paths: str) -> None:
    seconds: defaultdict[str, float] = defaultdict(float)
    for path in paths:
        for line in Path(path).read_text().splitlines():
            found = json.loads(line)
            seconds[found["test"]] += found["seconds"]
    print(table(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
