"""What fails is run once more (``pytest --second-try``), and the end of the run tells it.

LXD 5.0.2 loses the output of an exec now and then, and two labs share two cores. The library for it
talks to its workers over loopback, and a worker whose lab is apart has a loopback of its own.
"""

from __future__ import annotations

import pytest
from _pytest.runner import runtestprotocol

FIRST = "first try"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option."""
    parser.addoption("--second-try", action="store_true", help="run what fails once more")


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test, and once more where that fails."""
    if not item.config.option.second_try or item.get_closest_marker("once"):
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    failed = [report for report in reports if report.failed]
    if failed:
        if isinstance(item, pytest.Function):
            item._initrequest()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        reports[-1].user_properties.append((FIRST, failed[0].longreprtext))
    for report in reports:
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what came out well at the second try only, with what went wrong at the first."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, said in getattr(report, "user_properties", ()):
                if name == FIRST and report.when == "teardown":
                    terminalreporter.section(f"first try of {report.nodeid}", sep="-")
                    terminalreporter.line(said)
