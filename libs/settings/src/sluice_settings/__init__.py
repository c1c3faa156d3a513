"""Settings from the environment, and from the files that it names.

Whatever a service is told by `SLUICE_NAME` it may as well be told by a file, whose path is in
`SLUICE_NAME_FILE`. Secrets then are in no environment, which child processes inherit and inspection shows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "SLUICE_"
_LONGEST = 65536


class UnreadableSettingError(ValueError):
    """A setting's file is of no use; the text says why, without what is in it."""


class MisfitSettingError(Exception):
    """A setting is in order and does not fit what there is; the text names it, and says what to do."""


class Settings(BaseSettings):
    """What every class of settings is made of: `SLUICE_NAME`, or the file that `SLUICE_NAME_FILE` names."""

    model_config = SettingsConfigDict(env_prefix=PREFIX)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what the caller gives, then the environment, then files."""
        return init_settings, env_settings, _Files(settings_cls)


class _Files(PydanticBaseSettingsSource):
    """The settings that are in files."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return from_file(f"{PREFIX}{field_name.upper()}"), field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        problems: list[InitErrorDetails] = []
        for name, field in self.settings_cls.model_fields.items():
            try:
                value, _, _ = self.get_field_value(field, name)
            except UnreadableSettingError as error:
                # The text goes in as a value: braces in it are none of a template's.
                kind = PydanticCustomError("unreadable_file", "{reason}", {"reason": str(error)})
                problems.append(InitErrorDetails(type=kind, loc=(name,), input=None))
            else:
                if value is not None:
                    found[name] = value
        if problems:
            raise ValidationError.from_exception_data(self.settings_cls.__name__, problems)
        return found


def from_file(variable: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Give what the file holds that `<variable>_FILE` names, without the white space at its end.

    None if there is no such variable, or it is empty.

    Raises
    ------
    UnreadableSettingError
        The file cannot be read, is empty or no text, or the variable itself is set as well.
    """
    name = f"{variable}_FILE"
    path = environment.get(name)
    if not path:
        return None
    if environment.get(variable):
        raise UnreadableSettingError(f"{variable} and {name} are both set")
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LONGEST + 1)
        text = data.decode().rstrip()
    except OSError as error:
        raise UnreadableSettingError(f"the file that {name} names: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnreadableSettingError(f"the file that {name} names is no text") from None
    if not text or len(data) > _LONGEST:
        raise UnreadableSettingError(f"the file that {name} names is empty, or too long")
    return text


def explain(error: ValidationError | MisfitSettingError) -> str:
    """Say in one line which environment variables are wrong and why, without their values."""
    if isinstance(error, MisfitSettingError):
        return f"wrong settings: {error}"
    problems = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        name = "_".join(str(part) for part in item["loc"]).upper() or "settings"
        problems.append(f"{PREFIX}{name}: {item['msg']}")
    return "wrong settings: " + "; ".join(problems)
