"""The Sluice SDK: imports documents from FHIR servers into projects, and exports FHIR data in bulk.

    async with SluiceClient("https://sluice.example") as sluice:
        credentials = await sluice.sign_up("my portal")      # keep these
        project = await sluice.create_project("Heart study")
        jobs = await sluice.import_documents(references, project=project.id)
        for job in await sluice.wait_all([job.id for job in jobs]):
            print(job.counts)
        async for file in sluice.files(project=project.id):
            await sluice.download(file.id, folder / file.name)

    key = ClientKey.read(Path("key.json"))                   # made by: sluice keys new
    async with SluiceClient(url, credentials=KeyCredentials(client_id, key)) as sluice:
        request = ExportRequest(level=ExportLevel.GROUP, group="ward-3", types=("Patient", "Condition"))
        done = await sluice.export(Path("ward-3"), request)  # call it again to go on after a break

    request = PullRequest(export_url="https://fhir.example/r4/$export", types=("Patient",))
    done = await sluice.pull(request)                        # into the service, from a registered source

`sluice_client.sync` has the same for programs without asyncio.
"""

from sluice_client.access import Grant, Group, GroupMember, MembersChanged
from sluice_client.any_jobs import AnyJob, HeldUp, JobCounts, JobEvent, JobItem, JobStage
from sluice_client.assertions import ClientKey
from sluice_client.audit import AuditEvent
from sluice_client.client import SluiceClient
from sluice_client.content_keys import ContentKey
from sluice_client.data_submissions import DataFileError
from sluice_client.errors import (
    ApiError,
    AuthenticationError,
    DownloadError,
    ExportFolderError,
    KeyFileError,
    NotFoundError,
    SluiceError,
    ThrottledError,
    UnreachableError,
    WaitTimeoutError,
)
from sluice_client.export_requests import ExportLevel, ExportRequest
from sluice_client.export_run import Exported, ExportProgress
from sluice_client.manifests import ExportFile, ExportFileKind, ExportStatus, Manifest
from sluice_client.measures import MeasureFileError, StoredArtifact
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
    Member,
    Project,
    RateLimit,
    Registration,
    User,
)
from sluice_client.oauth import EXPORT_SCOPES, IMPORT_SCOPES, AccessToken, KeyCredentials
from sluice_client.operating import (
    DeadLetter,
    DeadTopic,
    Redriven,
    Source,
    SourceAlert,
    SourceHealth,
    SourceMinute,
)
from sluice_client.pull_requests import Pulled, PullOutcome, PullRequest, PullStatus
from sluice_client.submission_access import SubmissionAccess
from sluice_client.submissions import Submission, SubmissionState, SubmissionStatus
from sluice_client.transport import Patience
from sluice_client.trials import Forecast, ScrapeKey, ScrapeSchema, Trial, TrialWarning
from sluice_client.webhooks import Webhook, WebhookDelivery

__all__ = [
    "EXPORT_SCOPES",
    "IMPORT_SCOPES",
    "AccessToken",
    "AnyJob",
    "ApiError",
    "AuditEvent",
    "AuthenticationError",
    "ClientKey",
    "ConflictResolution",
    "ContentKey",
    "Credentials",
    "DataFileError",
    "DeadLetter",
    "DeadTopic",
    "DownloadError",
    "Downloaded",
    "ExportFile",
    "ExportFileKind",
    "ExportFolderError",
    "ExportLevel",
    "ExportProgress",
    "ExportRequest",
    "ExportStatus",
    "Exported",
    "File",
    "Forecast",
    "Grant",
    "Group",
    "GroupMember",
    "HeldUp",
    "ImportItem",
    "ImportResult",
    "ItemCounts",
    "Job",
    "JobAccepted",
    "JobCounts",
    "JobEvent",
    "JobItem",
    "JobStage",
    "JobState",
    "JobSummary",
    "KeyCredentials",
    "KeyFileError",
    "Manifest",
    "MeasureFileError",
    "Member",
    "MembersChanged",
    "NotFoundError",
    "Patience",
    "Project",
    "PullOutcome",
    "PullRequest",
    "PullStatus",
    "Pulled",
    "RateLimit",
    "Redriven",
    "Registration",
    "ScrapeKey",
    "ScrapeSchema",
    "SluiceClient",
    "SluiceError",
    "Source",
    "SourceAlert",
    "SourceHealth",
    "SourceMinute",
    "StoredArtifact",
    "Submission",
    "SubmissionAccess",
    "SubmissionState",
    "SubmissionStatus",
    "ThrottledError",
    "Trial",
    "TrialWarning",
    "UnreachableError",
    "User",
    "WaitTimeoutError",
    "Webhook",
    "WebhookDelivery",
]
