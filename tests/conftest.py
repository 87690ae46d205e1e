"""What holds for every test: how many run at once, commands a test needs, skips that CI does not accept, properties without a stopwatch,
bytecode that is kept, Ctrl-C that arrives.

Fixtures of one part of the gateway live in that part's folder.
"""

import os
import shutil
import signal
import sys
from collections.abc import Sequence

import hypothesis
import pytest

from gateway.version import code

CI = os.environ.get("CI") == "true"

# Machines are shared and slow at times: a property fails by its assertion, never by the clock. CI draws the same examples every time.
hypothesis.settings.register_profile("gateway", deadline=None, derandomize=CI)
hypothesis.settings.load_profile("gateway")

# Hundreds of tests start a process of ours. Where whoever runs them wants no bytecode written, each would compile 250 modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell that starts something in the background has it ignore SIGINT, and so would every process that a test ends with Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MOST_WORKERS = 4
"""However many processors are seen: those of a container may be lent to others."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two workers more than processors, since tests wait for half of their time. None for single files: most end before it had started."""
    alone = all(".py" in argument for argument in config.args)
    return 0 if alone else min((os.cpu_count() or 1) + 2, MOST_WORKERS)


def pytest_report_header() -> str:
    """What is tested: the sources, or `make compiled`'s."""
    return f"gateway: {code()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out of a run on compiled code what is marked `sources`; the longest test begins first: none waits for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_image.py")
    if code() == "compiled":
        left_out = [item for item in items if item.get_closest_marker("sources")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test marked `needs("command")` where the command is not installed (apt.txt names the packages)."""
    for mark in item.iter_markers("needs"):
        missing = [command for command in mark.args if shutil.which(command) is None]
        if missing:
            pytest.skip(f"{', '.join(missing)} not found: `make test` as root installs apt.txt")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under CI=true a test that did not run is a failure."""
    if CI and _skipped(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says why a session without a failed test failed."""
    if CI and (skipped := _skipped(config)):
        terminalreporter.write_line(f"{len(skipped)} skipped under CI=true, which is a failure", red=True)


def _skipped(config: pytest.Config) -> Sequence[object]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return reporter.stats.get("skipped", ()) if reporter is not None else ()
