"""How the deployment does, as operators see it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sluice_gateway.models.base import AnswerModel

Word = Literal["ok", "warning", "failing"]


class FindingShown(AnswerModel):
    """What was found of one thing."""

    name: str
    state: Word
    text: str = Field(description="What was found, in plain words.")
    advice: str = Field(description="What to do about it; empty if nothing.")


class CheckupShown(AnswerModel):
    """What was found of everything."""

    state: Word = Field(description="The worst of all.")
    findings: list[FindingShown]
