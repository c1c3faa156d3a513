"""What the environment may say of a setting a file may say too, and no error repeats a value."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from sluice_settings import Settings, explain


class Told(Settings):
    secret: SecretStr
    attempts: int = 8


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SLUICE_SECRET", "SLUICE_SECRET_FILE", "SLUICE_ATTEMPTS", "SLUICE_ATTEMPTS_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def refusal() -> str:
    with pytest.raises(ValidationError) as caught:
        Told()
    return explain(caught.value)


def test_a_setting_is_read_from_the_file_that_its_variable_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "secret").write_text("hunter2\n")
    (folder / "attempts").write_text("3")
    monkeypatch.setenv("SLUICE_SECRET_FILE", str(folder / "secret"))
    monkeypatch.setenv("SLUICE_ATTEMPTS_FILE", str(folder / "attempts"))
    told = Told()
    assert (told.secret.get_secret_value(), told.attempts) == ("hunter2", 3)


def test_an_empty_variable_names_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_SECRET", "hunter2")
    monkeypatch.setenv("SLUICE_SECRET_FILE", "")
    assert Told().secret.get_secret_value() == "hunter2"


def test_a_value_and_a_file_for_the_same_setting_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "secret").write_text("hunter2")
    monkeypatch.setenv("SLUICE_SECRET_FILE", str(folder / "secret"))
    monkeypatch.setenv("SLUICE_SECRET", "hunter3")
    said = refusal()
    assert "SLUICE_SECRET and SLUICE_SECRET_FILE are both set" in said
    assert "hunter" not in said


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe", b"x" * 70_000])
def test_a_file_that_is_missing_empty_too_long_or_no_text_is_named_by_its_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is not None:
        (folder / "{secret}").write_bytes(content)
    monkeypatch.setenv("SLUICE_SECRET_FILE", str(folder / "{secret}"))
    said = refusal()
    assert said.startswith("wrong settings: SLUICE_SECRET: the file that SLUICE_SECRET_FILE names")
    assert len(said.splitlines()) == 1
    assert "xxx" not in said


def test_a_file_with_a_wrong_value_is_refused_without_repeating_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "attempts").write_text("many")
    monkeypatch.setenv("SLUICE_SECRET", "hunter2")
    monkeypatch.setenv("SLUICE_ATTEMPTS_FILE", str(folder / "attempts"))
    said = refusal()
    assert "SLUICE_ATTEMPTS" in said
    assert "many" not in said
