"""Data keys are kept wrapped; any of the master keys unwraps what it wrapped, and nothing else does."""

from __future__ import annotations

import base64

import pytest
from pydantic import ValidationError

from sluice_settings import explain
from sluice_storage.encryption.keys import ID, DataKey, LostKeyError, MasterKeys
from sluice_storage.encryption.settings import MasterKeySettings

OLD, NEW = b"o" * 32, b"n" * 32


def test_a_data_key_comes_back_for_its_own_name_only() -> None:
    keys = MasterKeys([OLD])
    key, wrapped = keys.make("exports/a")
    assert keys.unwrap(wrapped, "exports/a") == key
    with pytest.raises(LostKeyError):
        keys.unwrap(wrapped, "exports/b")
    assert key.secret not in wrapped
    assert keys.make("exports/a")[0] != key


def test_a_new_master_key_wraps_and_old_ones_go_on_to_unwrap() -> None:
    key, wrapped = MasterKeys([OLD]).make("a")
    both = MasterKeys([NEW, OLD])
    assert both.unwrap(wrapped, "a") == key
    _, later = both.make("a")
    assert later[:ID] == both.newest == MasterKeys([NEW]).newest != wrapped[:ID]
    again = both.rewrap(wrapped, "a")
    assert MasterKeys([NEW]).unwrap(again, "a") == key
    with pytest.raises(LostKeyError):
        MasterKeys([NEW]).unwrap(wrapped, "a")


@pytest.mark.parametrize("place", [0, ID, ID + 5, -1])
def test_an_altered_key_is_told_from_a_good_one(place: int) -> None:
    keys = MasterKeys([OLD])
    wrapped = bytearray(keys.make("a")[1])
    wrapped[place] ^= 1
    with pytest.raises(LostKeyError):
        keys.unwrap(bytes(wrapped), "a")


def test_no_key_is_shown() -> None:
    assert "111" not in repr(DataKey(b"1" * 32))


def test_keys_are_read_in_lines_the_newest_first() -> None:
    text = f"{NEW.hex()}\n{base64.b64encode(OLD).decode()}\n"
    assert MasterKeys.read(text).newest == MasterKeys([NEW]).newest


@pytest.mark.parametrize("text", ["", "   ", "secret-word", OLD.hex() + " 1234"])
def test_wrong_keys_are_told_in_one_line_without_them(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_MASTER_KEYS", text)
    with pytest.raises(ValidationError) as wrong:
        MasterKeySettings()
    told = explain(wrong.value)
    assert "SLUICE_MASTER_KEYS" in told
    assert "\n" not in told
    assert not any(word in told for word in text.split())


def test_missing_keys_are_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLUICE_MASTER_KEYS", raising=False)
    with pytest.raises(ValidationError) as wrong:
        MasterKeySettings()
    assert explain(wrong.value) == "wrong settings: SLUICE_MASTER_KEYS: Field required"
