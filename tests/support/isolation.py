"""Which test holds a route against those who may not see what it is about: every route has one.

| set | what its routes are about | held by |
|---|---|---|
| `JOBS` | one job of the client and subject who began it | `unit/gateway/test_isolation_matrix.py` |
| `CATALOGUE` | a project, or what is in it | `integration/test_catalogue_isolation_matrix.py` |
| reading | resources, as far as grants let | `integration/test_fhir_isolation_matrix.py`, from the routes |
| operators' | what operators share | `unit/gateway/test_isolation_matrix.py`, by the scope |
| `OWN` | whoever asks, and nobody else | nobody could see more |
| `ELSEWHERE` | what grants and registered servers decide, before anything is done | the test that is named |

Those of the authorization server are in `unit/auth/test_auth_isolation_matrix.py`.
"""

from __future__ import annotations

from sluice_gateway.routes import ROUTES
from sluice_gateway.routing import Route

IMPORTS = frozenset(
    {"get_bulk_fhir_import", "cancel_bulk_fhir_import", "rerun_bulk_fhir_import", "rerun_job"}
)
EXPORTS = frozenset({"get_export", "delete_export", "get_export_file", "head_export_file"})
PULLS = frozenset(
    {
        "get_import_status",
        "delete_import",
        "get_import_information",
        "get_import_errors",
        "get_import_bundles",
    }
)
JOBS = IMPORTS | EXPORTS | PULLS

CATALOGUE: dict[str, dict[str, object] | list[str] | None] = {
    "start_bulk_fhir_import": {
        "items": [{"fhir_document_reference": "{document}", "parent": "{file}", "name": "n"}]
    },
    "check_bulk_fhir_import": {
        "items": [{"fhir_document_reference": "{document}", "parent": "{file}", "name": "n"}]
    },
    "get_project": None,
    "change_project": {"name": "taken over"},
    "delete_project": None,
    "list_projects_of_owner": None,
    "list_members": None,
    "add_member": {"username": "eve", "permissions": {"write": True}},
    "get_member": None,
    "change_member": {"write": False},
    "remove_member": None,
    "list_files": None,
    "create_folder": {"name": "n", "type": "folder", "parent": "{file}"},
    "get_file": None,
    "change_file": {"name": "taken over"},
    "delete_file": None,
    "list_folder": None,
    "move_file": {"parent": "{file}"},
    "get_metadata": None,
    "merge_metadata": {"a": "b"},
    "replace_metadata": {"a": "b"},
    "get_tags": None,
    "replace_tags": ["t"],
    "get_files_in_bulk": {"file_ids": ["{file}"]},
    "get_download_info": None,
}
"""By the route's name its body, if it takes one; `{file}` is a folder's id, `{document}` an address."""

OWN = frozenset(
    {
        "list_bulk_fhir_imports",
        "list_jobs",
        "watch_jobs",
        "create_project",
        "list_projects",
        "get_user",
        "get_rate_limit",
        "get_endpoints",
        "list_scrape_schemas",
        "try_scrape_schema",
    }
)
_KICK_OFFS = "unit/gateway/test_export_endpoints.py::"
_WEBHOOKS = "integration/test_webhooks_api.py::test_to_anyone_but_its_client_a_webhook_does_not_exist"
_MEASURES = "integration/test_measures_http.py::"
_SUBMISSIONS = "integration/test_submit_data_http.py::"
_ANY_JOBS = "unit/gateway/test_jobs_of_every_kind.py::test_to_anyone_else_a_job_does_not_exist"
_SUBMITTED = "integration/test_bulk_submit_http.py::test_whoever_submitted_it_alone_knows_of_it"
ELSEWHERE = {
    "bulk_submit": _SUBMITTED,
    "bulk_submit_status": _SUBMITTED,
    "get_submission_status": _SUBMITTED,
    "delete_submission_status": _SUBMITTED,
    "get_manifest_outcome": _SUBMITTED,
    "register_webhook": _WEBHOOKS,
    "list_webhooks": _WEBHOOKS,
    "get_webhook": _WEBHOOKS,
    "change_webhook": _WEBHOOKS,
    "remove_webhook": _WEBHOOKS,
    "rotate_webhook_secret": _WEBHOOKS,
    "ping_webhook": _WEBHOOKS,
    "list_webhook_deliveries": _WEBHOOKS,
    "get_webhook_delivery": _WEBHOOKS,
    "redeliver_webhook": _WEBHOOKS,
    "get_job": _ANY_JOBS,
    "list_job_items": _ANY_JOBS,
    "watch_job": _ANY_JOBS,
    "export_system": _KICK_OFFS + "test_without_a_grant_there_is_nothing_to_export",
    "export_system_by_parameters": _KICK_OFFS + "test_without_a_grant_there_is_nothing_to_export",
    "export_patients": _KICK_OFFS + "test_at_the_patient_level_only_granted_groups_patients_are_there",
    "export_patients_by_parameters": _KICK_OFFS
    + "test_patients_whom_the_export_could_not_hold_are_refused_without_a_name",
    "export_group": _KICK_OFFS + "test_a_group_without_a_grant_is_as_one_that_is_not_there",
    "export_group_by_parameters": _KICK_OFFS + "test_a_group_without_a_grant_is_as_one_that_is_not_there",
    "import_resources": "unit/gateway/test_bulk_import_endpoints.py::"
    "test_a_server_that_is_not_registered_is_refused_and_nothing_is_recorded",
    "store_bundle": _MEASURES + "test_who_may_store_what",
    "get_data_requirements": _MEASURES + "test_who_may_not_read_a_measure_is_not_told_what_it_needs",
    "get_data_requirements_by_parameters": _MEASURES
    + "test_who_may_not_read_a_measure_is_not_told_what_it_needs",
    "submit_data": _SUBMISSIONS + "test_who_may_not_store_resources_may_not_submit_them",
    "submit_data_of_any_measure": _SUBMISSIONS + "test_who_may_not_store_resources_may_not_submit_them",
    "bulk_submit_data": _SUBMISSIONS + "test_a_pull_needs_the_scope_of_imports",
    "bulk_submit_data_of_any_measure": _SUBMISSIONS + "test_a_pull_needs_the_scope_of_imports",
}


def is_reading(route: Route) -> bool:
    """Whether the matrix of reading has a row for the route by itself."""
    return route.fhir and "{type}" in route.path


def is_operators(route: Route) -> bool:
    """Whether the route is about what operators share."""
    return bool(route.scope) and str(route.scope).startswith("ops/")


def homes(route: Route) -> list[str]:
    """Name the sets that a guarded route is in; it has to be one."""
    sets = {
        "JOBS": route.name in JOBS,
        "CATALOGUE": route.name in CATALOGUE,
        "OWN": route.name in OWN,
        "ELSEWHERE": route.name in ELSEWHERE,
        "reading": is_reading(route),
        "operators'": is_operators(route),
    }
    return [name for name, there in sets.items() if there]


GUARDED = [route for route in ROUTES if route.scope is not None]
