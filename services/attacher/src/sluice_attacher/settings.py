"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from pydantic import Field

from sluice_fhir.source_settings import SourceSettings
from sluice_security.http_limits import MIB
from sluice_storage.encryption.settings import MasterKeySettings
from sluice_streaming.settings import StreamSettings


class Settings(StreamSettings, SourceSettings, MasterKeySettings):
    """Beside what every streaming service, and every one that reads from sources, is told; and master keys.

    Parameters
    ----------
    postgres
        `postgresql://` URL of the role `sluice_attacher`.
    objects
        URL of the object store.
    attachment_limit
        The largest attachment, in bytes.
    large_transfers
        How many attachments that do not fit in memory are under way at once in this process.
    large_document
        DocumentReferences above this many bytes are read one at a time.
    transfer_seconds
        How long one attachment may take.
    sweep_seconds
        Time between two rounds of the janitor.
    """

    postgres: str = Field(min_length=1)
    objects: str = Field(min_length=1)
    attachment_limit: int = Field(default=10_000_000_000, ge=1)
    large_transfers: int = Field(default=2, ge=1)
    large_document: int = Field(default=MIB // 4, ge=1024)
    transfer_seconds: float = Field(default=6 * 3600.0, gt=0)
    sweep_seconds: float = Field(default=60.0, gt=0)
