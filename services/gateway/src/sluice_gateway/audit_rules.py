"""Which operations leave an audit record, by their names, and what it says.

An operation that gives health information away is recorded by the request, before its first byte leaves.
One that changes something is recorded by who changes it, in that transaction: here only what is refused is.
Polls are not recorded: they tell counts and addresses, and of running imports files that are told again at
the end, when that is recorded. Every operation is in one of the two sets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_fhir.references import is_id

_ENTRY = re.compile(r"[0-9a-f]{24}")
_REGISTERED = re.compile(r"[0-9a-f]{16,24}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
Path = Mapping[str, str]
About = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Rule:
    """What is recorded of an operation.

    Parameters
    ----------
    act
        A name of `sluice_contracts.audit.ACTS`.
    about
        Gives the record's fields on what it is about, from the path.
    discloses
        A request that succeeds is recorded; otherwise only one that is refused.
    when_noted
        It is recorded if its handler notes what it gave; not every answer gives something away.
    """

    act: str
    about: About
    discloses: bool = True
    when_noted: bool = False


def _resource(path: Path) -> dict[str, Any]:
    # What a path says is the caller's word: what cannot be a type or an id is not repeated.
    type_, id_ = path["type"], path.get("id", "")
    known = type_ if type_ in RESOURCE_TYPES else None
    return {"kind": known, "entity": id_ if known and is_id(id_) else None}


def _group(path: Path) -> dict[str, Any]:
    return {"kind": "Group", "entity": path["id"] if is_id(path.get("id", "")) else None}


def _job(path: Path) -> dict[str, Any]:
    try:
        job = str(UUID(path["id"]))
    except ValueError:
        job = None
    name = path.get("name", "")
    if not _NAME.fullmatch(name):
        return {"kind": "job", "entity": job, "job": job}
    return {"kind": "job-file", "entity": None if job is None else f"{job}/{name}", "job": job}


def _file(path: Path) -> dict[str, Any]:
    id_ = path.get("id", "")
    return {"kind": "file", "entity": id_ if _ENTRY.fullmatch(id_) else None}


def _project(_path: Path) -> dict[str, Any]:
    return {"kind": "project"}


def _registered(path: Path) -> dict[str, Any]:
    """Say which source or webhook: both have ids of our making."""
    id_ = path.get("id", "")
    return {"entity": id_ if _REGISTERED.fullmatch(id_) else None}


def _bundle(_path: Path) -> dict[str, Any]:
    return {"kind": "Bundle"}


def _nothing(_path: Path) -> dict[str, Any]:
    return {}


def _refusals(act: str, about: About, *names: str) -> dict[str, Rule]:
    return {name: Rule(act, about, discloses=False) for name in names}


RULES: dict[str, Rule] = {
    "read_resource": Rule("read", _resource),
    "read_version": Rule("vread", _resource),
    "search_resources": Rule("search", _resource),
    "search_resources_by_form": Rule("search", _resource),
    "get_export_file": Rule("disclose", _job),
    "get_import_information": Rule("disclose", _job),
    "get_import_errors": Rule("disclose", _job),
    "get_import_bundles": Rule("disclose", _job),
    "get_manifest_outcome": Rule("disclose", _job),
    "get_content": Rule("disclose", _file),
    # A file's metadata are of what its document is about.
    "get_file": Rule("disclose", _file),
    "list_files": Rule("disclose", _file),
    "list_folder": Rule("disclose", _file),
    "get_files_in_bulk": Rule("disclose", _file),
    "get_metadata": Rule("disclose", _file),
    "change_file": Rule("disclose", _file),
    "move_file": Rule("disclose", _file),
    "merge_metadata": Rule("disclose", _file),
    "replace_metadata": Rule("disclose", _file),
    # A job that has ended tells its files with their metadata; until then it is polled.
    "get_bulk_fhir_import": Rule("disclose", _job, when_noted=True),
    # Who is in a group.
    "list_group_members": Rule("disclose", _group),
    # What asks about something, or changes it.
    **_refusals("read", _resource, "head_resource"),
    **_refusals("vread", _resource, "head_version"),
    **_refusals("disclose", _job, "head_export_file"),
    **_refusals("disclose", _file, "head_content", "get_download_info", "get_tags", "replace_tags"),
    **_refusals("disclose", _project, "get_project", "list_projects_of_owner", "list_members", "get_member"),
    **_refusals("source.register", _registered, "register_source"),
    **_refusals("source.change", _registered, "change_source"),
    **_refusals("source.remove", _registered, "remove_source"),
    **_refusals("webhook.register", _registered, "register_webhook"),
    **_refusals("webhook.change", _registered, "change_webhook", "rotate_webhook_secret"),
    **_refusals("webhook.remove", _registered, "remove_webhook"),
    **_refusals("export.begin", _nothing, "export_system", "export_patients"),
    **_refusals("export.begin", _nothing, "export_system_by_parameters", "export_patients_by_parameters"),
    **_refusals("export.begin", _group, "export_group", "export_group_by_parameters"),
    **_refusals("export.delete", _job, "delete_export"),
    **_refusals("bulk-import.begin", _nothing, "import_resources", "bulk_submit", "bulk_submit_status"),
    **_refusals("bulk-import.begin", _nothing, "bulk_submit_data", "bulk_submit_data_of_any_measure"),
    **_refusals("bulk-import.delete", _job, "delete_import"),
    **_refusals("document-import.begin", _nothing, "start_bulk_fhir_import", "check_bulk_fhir_import"),
    **_refusals("document-import.begin", _job, "rerun_bulk_fhir_import", "rerun_job"),
    **_refusals("store", _bundle, "store_bundle", "submit_data", "submit_data_of_any_measure"),
    **_refusals("document-import.cancel", _job, "cancel_bulk_fhir_import"),
    **_refusals("file.delete", _file, "delete_file"),
    **_refusals("file.delete", _project, "delete_project"),
    **_refusals("member.change", _project, "add_member", "change_member", "remove_member"),
    **_refusals("grant.give", _nothing, "give_grant"),
    **_refusals("grant.revoke", _nothing, "revoke_grant"),
    **_refusals("group.change", _nothing, "create_group"),
    **_refusals("group.change", _group, "replace_group", "delete_group"),
    **_refusals("group.change", _group, "change_group_members", "remove_group_member"),
}

UNRECORDED = frozenset(
    {
        # How jobs stand: counts, codes, addresses.
        "list_bulk_fhir_imports",
        "list_jobs",
        "watch_jobs",
        "get_job",
        "list_job_items",
        "watch_job",
        "get_export",
        "get_import_status",
        "get_submission_status",
        "delete_submission_status",
        # The caller's own projects, by name.
        "create_project",
        "list_projects",
        "change_project",
        "create_folder",
        # What operators run, without anybody's data.
        "list_sources",
        "get_source",
        "get_source_health",
        "get_source_keys",
        "get_submission_keys",
        "list_grants",
        "get_grant",
        "list_groups",
        "get_group",
        "list_dead_letters",
        "redrive_dead_letters",
        "check_deployment",
        # Clients' own: webhooks, schemas, limits.
        "list_webhooks",
        "get_webhook",
        "ping_webhook",
        "list_webhook_deliveries",
        "get_webhook_delivery",
        "redeliver_webhook",
        "list_scrape_schemas",
        "try_scrape_schema",
        "get_user",
        "get_rate_limit",
        "get_endpoints",
        # What is about nobody.
        "get_data_requirements",
        "get_data_requirements_by_parameters",
        "get_capabilities",
        "get_smart_configuration",
        "dashboard",
        "dashboard_signed_in",
        "dashboard_config",
        "dashboard_asset",
        "asyncapi",
        "message_docs",
        "message_schema",
        "livez",
        "readyz",
        "metrics",
        "openapi",
        "docs",
        "authorization_docs",
        "docs_asset",
    }
)
