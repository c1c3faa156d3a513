"""The Sluice SDK: imports documents from FHIR servers into projects, and gets files out of them.

from sluice_client import SluiceClient

async with SluiceClient("https://sluice.example") as sluice:
credentials = await sluice.sign_up("my portal")      # keep these
project = await sluice.create_project("Heart study")
jobs = await sluice.import_documents(references, project=project.id)
for job in await sluice.wait_all([job.id for job in jobs]):
print(job.counts)
async for file in sluice.files(project=project.id):
await sluice.download(file.id, folder / file.name)
"""

from sluice_client.client import SluiceClient
from sluice_client.errors import (
    ApiError,
    AuthenticationError,
    DownloadError,
    NotFoundError,
    SluiceError,
    ThrottledError,
    UnreachableError,
    WaitTimeoutError,
)
from sluice_client.models import (
    ConflictResolution,
    Credentials,
    Downloaded,
    File,
    ImportItem,
    ImportResult,
    ItemCounts,
    Job,
    JobAccepted,
    JobState,
    JobSummary,
    Project,
    RateLimit,
    Source,
)
from sluice_client.transport import Patience

__all__ = [
    "ApiError",
    "AuthenticationError",
    "ConflictResolution",
    "Credentials",
    "DownloadError",
    "Downloaded",
    "File",
    "ImportItem",
    "ImportResult",
    "ItemCounts",
    "Job",
    "JobAccepted",
    "JobState",
    "JobSummary",
    "NotFoundError",
    "Patience",
    "Project",
    "RateLimit",
    "SluiceClient",
    "SluiceError",
    "Source",
    "ThrottledError",
    "UnreachableError",
    "WaitTimeoutError",
]
