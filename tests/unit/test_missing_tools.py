"""What a test needs and is not there is told, or is a failure where it should be."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
TESTS = """
import pytest

@pytest.mark.needs("chromium")
def test_one(): ...

@pytest.mark.needs("chromium")
def test_other(): ...

def test_without(): ...
"""


@pytest.fixture
def here(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("PATH", str(pytester.path))
    monkeypatch.delenv("SLUICE_TESTS_NEED", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # importing them takes seconds
    pytester.makepyfile(TESTS)
    return pytester


def run(here: pytest.Pytester) -> pytest.RunResult:
    return here.runpytest_subprocess("-p", "support.tools", "-p", "no:cacheprovider")


def test_what_is_missing_is_skipped_and_told(here: pytest.Pytester) -> None:
    result = run(here)
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["*not tested here*", "2 tests: Chromium is not installed"])


def test_what_is_missing_and_expected_is_a_failure(
    here: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_TESTS_NEED", "chromium")
    result = run(here)
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*SLUICE_TESTS_NEED says that it is*"])


def test_what_nobody_knows_cannot_be_expected(here: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_TESTS_NEED", "chromum")
    assert run(here).ret == pytest.ExitCode.USAGE_ERROR
