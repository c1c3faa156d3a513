"""Which test throws anything at which parser; `make fuzz` runs all of them with many more examples."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
_HERE = "unit/fuzz/test_parsers.py::"
_BULK = "unit/fuzz/test_bulk_and_account_parsers.py::"
_KEYS = "unit/security/test_content_keys.py::test_no_text_does_more_than_hold_no_key_and_no_content"
PARSERS = {
    # records
    "sluice_contracts.wire:Decoder": _HERE + "test_no_record_does_more_than_be_refused",
    "sluice_contracts.ids:item_of_key": _HERE + "test_no_key_is_an_items_unless_it_was_made_so",
    "sluice_contracts.ids:accepted_at": "unit/contracts/test_job_ids.py::"
    "test_text_that_is_no_job_id_is_never_accepted",
    "sluice_streaming.retries:History": "unit/streaming/test_retry_tiers.py::"
    "test_headers_that_lie_never_break_a_delivery",
    "sluice_telemetry.trace:parse": "unit/telemetry/test_trace_context.py::"
    "test_anything_else_is_no_trace_and_no_error",
    "sluice_gateway.watches:told_of": _BULK + "test_no_record_is_more_than_one_event_to_those_who_watch",
    # what sources send
    "sluice_fhir.ndjson:Splitter": "unit/fhir/test_ndjson_splitter.py::"
    "test_how_a_file_is_cut_into_pieces_makes_no_difference",
    "sluice_fhir.ndjson_resource:parse": _HERE + "test_no_line_does_more_than_be_refused",
    "sluice_fhir.json_depth:is_deeper": "unit/fhir/test_fhir_json_depth.py::test_no_bytes_break_it",
    "sluice_fhir.export_manifest:read_manifest": _HERE + "test_no_manifest_does_more_than_be_refused",
    "sluice_fhir.outcomes:retry_after": "unit/fhir/test_fhir_outcomes.py::test_no_text_breaks_it",
    "sluice_fhir.references:parse_reference": "unit/fhir/test_fhir_references.py::"
    "test_no_text_but_a_reference_is_one",
    "sluice_fhir.searchset:matches": _HERE + "test_no_answer_to_a_search_does_more_than_hold_nothing",
    "sluice_fhir.searchset:finds_by_id": _HERE + "test_no_answer_to_a_search_does_more_than_hold_nothing",
    "sluice_attacher.inline:Base64Decoder": "unit/attacher/test_attacher_contents.py::"
    "test_base64_decodes_the_same_however_it_is_cut_and_spelled",
    "sluice_attacher.binary:Unwrapping": "unit/attacher/test_attacher_contents.py::"
    "test_a_binary_is_unwrapped_however_it_is_cut_and_ordered",
    "sluice_storage.catalogue.naming:safe_name": "unit/storage/test_catalogue_naming.py::"
    "test_whatever_is_asked_for_a_name_is_safe_or_none",
    "sluice_puller.contents:deletions": _BULK
    + "test_no_line_of_deletions_does_more_than_name_resources_of_its_server",
    "sluice_security.content_keys:decrypt": _KEYS,
    # what clients send
    "sluice_security.content_keys:DeliveredKeys": _KEYS,
    "sluice_gateway.fhir.submission_parameters:read_submission": _BULK
    + "test_no_submission_does_more_than_be_refused",
    "sluice_gateway.fhir.submission_parameters:read_status_request": _BULK
    + "test_no_submission_does_more_than_be_refused",
    "sluice_gateway.fhir.audit_queries:parse_audit_search": _BULK
    + "test_no_search_of_the_audit_trail_does_more_than_be_refused",
    "sluice_gateway.fhir.audit_queries:place_of": _BULK
    + "test_no_text_is_an_audit_events_id_unless_it_was_made_as_one",
    "sluice_gateway.watching:Place": _BULK + "test_no_last_event_id_is_a_place_unless_it_is_written_as_one",
    "sluice_auth.handlers.forms:Form": _BULK
    + "test_no_form_and_no_header_does_more_than_say_who_a_client_claims_to_be",
    "sluice_auth.handlers.forms:credentials": _BULK
    + "test_no_form_and_no_header_does_more_than_say_who_a_client_claims_to_be",
    "sluice_auth.metadata:parse": _BULK + "test_no_registration_does_more_than_be_refused",
    "sluice_auth.redirects:check_redirect": _BULK + "test_no_redirect_address_does_more_than_be_refused",
    "sluice_auth.redirects:matches": _BULK + "test_no_redirect_address_does_more_than_be_refused",
    "sluice_auth.remote_keys:lifetime": _BULK + "test_no_cache_control_keeps_keys_for_ever",
    "sluice_gateway.references:DocumentReferenceUri": "unit/gateway/test_import_request_rules.py::"
    "test_what_passes_as_a_reference_ends_in_a_document_and_has_no_way_out",
    "sluice_gateway.bodies:parser": "unit/gateway/test_import_request_rules.py::"
    "test_whatever_bytes_are_sent_are_refused_and_never_a_crash",
    "sluice_gateway.fhir.v3:Version3": "unit/gateway/test_export_parameters.py::"
    "test_whatever_a_body_is_it_is_read_or_refused",
    "sluice_gateway.fhir.pull_parameters:read_import": "unit/gateway/test_bulk_import_parameters.py::"
    "test_no_body_does_anything_but_be_read_or_refused",
    "sluice_gateway.fhir.queries:parse_search": _HERE + "test_no_search_does_more_than_be_refused",
    "sluice_gateway.fhir.preferences:lenient": _HERE + "test_no_preference_does_more_than_be_refused",
    "sluice_gateway.conditions:span": _HERE + "test_no_range_is_outside_of_what_there_is",
    "sluice_gateway.downloads:disposition": "unit/gateway/test_download_addresses.py::"
    "test_no_name_adds_a_parameter_or_a_line",
    "sluice_fhir.search:parse_type_filter": _HERE + "test_no_type_filter_does_more_than_be_refused",
    "sluice_security.jose:read": _HERE + "test_no_token_does_more_than_be_refused",
    "sluice_auth.assertion:claimed": _HERE + "test_no_token_does_more_than_be_refused",
    # measures
    "sluice_fhir.measures.intake:parse_bundle": "unit/fhir/measures/test_measure_intake.py::"
    "test_every_entry_is_done_or_refused",
    "sluice_fhir.measures.elm:parse_elm": "unit/fhir/measures/test_measure_failures.py::"
    "test_no_elm_does_more_than_be_refused",
    "sluice_fhir.measures.submission:parse_submission": "unit/fhir/measures/test_measure_submissions.py::"
    "test_no_parameters_do_more_than_be_refused",
    # what operators write
    "sluice_fhir.fhirpath:compile_path": _HERE + "test_no_path_does_more_than_be_refused",
    "sluice_fhir.scrape_schema:read_schema": _HERE + "test_no_scrape_schema_does_more_than_be_refused",
    "sluice_security.guard_urls:parse_url": "unit/security/test_guard_urls.py::test_no_text_leads_outside",
    # what the command line reads
    "sluice_client.server_events:server_events": "unit/client/test_client_server_events.py::"
    "test_whatever_comes_is_read_or_left_out",
    "sluice_client.importing:parse": _HERE + "test_no_list_of_what_to_import_does_more_than_be_refused",
    "sluice_client.api:decoded": _BULK + "test_no_answer_does_more_to_a_client_than_be_refused",
    "sluice_client.data_submissions:report_of": _BULK
    + "test_no_file_of_data_does_more_to_a_client_than_be_refused",
    "sluice_client.data_submissions:resources_of": _BULK
    + "test_no_file_of_data_does_more_to_a_client_than_be_refused",
    "sluice_client.downloads:begins_at": _BULK + "test_no_content_range_breaks_a_download",
    "sluice_client.downloads:safe_name": _BULK + "test_no_name_leads_out_of_where_files_are_downloaded_to",
    "sluice_client.manifests:read_manifest": _HERE + "test_no_manifest_does_more_to_a_client_than_be_refused",
}


@pytest.mark.parametrize("parser", PARSERS)
def test_the_parser_is_there_and_so_is_its_test(parser: str) -> None:
    module, _, name = parser.partition(":")
    assert hasattr(importlib.import_module(module), name)
    file, _, test = PARSERS[parser].partition("::")
    text = (TESTS / file).read_text(encoding="utf-8")
    assert f"def {test}(" in text
    before = text[: text.index(f"def {test}(")]
    decorators = before[before.rindex("\n\n\n") :] if "\n\n\n" in before else before
    assert "@given" in decorators
