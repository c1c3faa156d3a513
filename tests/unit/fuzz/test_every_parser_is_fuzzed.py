"""Which test throws anything at which parser; `make fuzz` runs all of them, for a time."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
_ANSWERS = "unit/fuzz/test_answer_parsers.py::"
_CLI = "unit/fuzz/test_command_line_parsers.py::"
_HEADERS = "unit/fuzz/test_header_parsers.py::"
_HERE = "unit/fuzz/test_parsers.py::"
_BULK = "unit/fuzz/test_bulk_and_account_parsers.py::"
_KEYS = "unit/security/test_content_keys.py::"
_TOKENS = "unit/fuzz/test_token_and_setting_parsers.py::"
_ODD = "unit/exporter/test_exporter_odd_resources.py::"
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
    "sluice_contracts.ids:items_of_text": "unit/streaming/test_lots.py::"
    "test_no_text_names_more_items_than_a_lot_has",
    "sluice_streaming.items:_named": _ANSWERS + "test_no_key_and_no_header_name_items_without_end",
    "sluice_streaming.letters_reading:letter_of": _ANSWERS
    + "test_no_headers_keep_a_dead_letter_from_being_read",
    "sluice_streaming.salvage:salvaged": _ANSWERS
    + "test_no_start_that_is_no_command_does_more_than_be_left_alone",
    # what sources send
    "sluice_security.http_body:Inflater": "unit/security/test_http_body.py::"
    "test_noise_is_a_failure_and_nothing_else",
    "sluice_fhir.source_tokens:_read_answer": _ANSWERS
    + "test_no_answer_of_a_token_endpoint_does_more_than_be_refused",
    "sluice_fhir.export_calls:_codes": _ANSWERS + "test_no_outcome_of_a_source_holds_more_than_codes",
    "sluice_fhir.export_calls:_per_cent": _ANSWERS + "test_no_progress_of_a_source_is_beyond_its_end",
    "sluice_fhir.attachment:_RANGE": _ANSWERS + "test_no_range_that_a_source_answers_is_more_than_numbers",
    "sluice_fhir.scrape_match:read_capability": _ANSWERS
    + "test_no_answer_to_what_a_schema_asks_does_more_than_hold_nothing",
    "sluice_fhir.scrape_run:_entries": _ANSWERS
    + "test_no_answer_to_what_a_schema_asks_does_more_than_hold_nothing",
    "sluice_fhir.scrape_addresses:follow_address": _ANSWERS + "test_no_reference_leads_out_of_its_server",
    "sluice_fhir.references:local_mentions": _ANSWERS + "test_no_resource_mentions_what_could_not_be_one",
    "sluice_fhir.compartments:patients_of": _ANSWERS
    + "test_no_shape_of_a_resource_keeps_it_from_having_patients",
    "sluice_fhir.search_values:span_of": _ANSWERS
    + "test_no_value_is_a_time_or_a_number_unless_it_is_written_as_one",
    "sluice_fhir.scrape_values:number": _ANSWERS
    + "test_no_value_is_a_time_or_a_number_unless_it_is_written_as_one",
    "sluice_fhir.scrape_values:datetime": _ANSWERS
    + "test_no_value_is_a_time_or_a_number_unless_it_is_written_as_one",
    "sluice_attacher.filenames:file_name": _ANSWERS + "test_no_title_and_no_address_leads_a_file_elsewhere",
    "sluice_attacher.documents:choose": "unit/attacher/test_attacher_documents.py::"
    "test_no_document_breaks_the_reader",
    "sluice_attacher.checks:digest_of": "unit/attacher/test_attacher_contents.py::"
    "test_no_stated_hash_breaks_the_reader",
    # what is stored as it came
    "sluice_exporter.elements:subset_of": _ODD + "test_elements_are_left_out_of_whatever_the_store_takes",
    "sluice_exporter.attachments:Attachments": _ODD + "test_addresses_are_made_absolute_where_they_are_texts",
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
    "sluice_security.content_keys:decrypt": _KEYS + "test_no_text_does_more_than_hold_no_key_and_no_content",
    # what clients send
    "sluice_security.content_keys:DeliveredKeys": _KEYS
    + "test_nothing_that_is_delivered_does_more_than_be_a_key_or_be_refused",
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
    "sluice_auth.assertion:verify": _TOKENS + "test_no_claims_that_a_client_signs_do_more_than_be_refused",
    "sluice_auth.assertion:claimed": _HERE + "test_no_token_does_more_than_be_refused",
    "sluice_gateway.authentication:token_of": _HEADERS + "test_no_credentials_do_more_than_be_refused",
    "sluice_gateway.conditions:has_it": _HEADERS + "test_no_condition_does_more_than_hold_or_not",
    "sluice_gateway.conditions:asked_range": _HEADERS + "test_no_condition_does_more_than_hold_or_not",
    "sluice_gateway.fhir.files:_takes_gzip": _HEADERS
    + "test_no_accepted_encoding_does_more_than_be_taken_or_not",
    "sluice_gateway.fhir.files:_numbers": "unit/gateway/test_export_files.py::"
    "test_whatever_a_name_is_it_gives_numbers_that_a_row_can_have",
    "sluice_gateway.fhir.routes_measures:_asynchronous": _HEADERS
    + "test_no_preference_makes_a_measures_answer_more_than_refused",
    "sluice_gateway.fhir.routes_measures:_dates": _HEADERS
    + "test_no_parameters_of_requirements_do_more_than_be_refused",
    "sluice_gateway.fhir.searching:_number": _HEADERS
    + "test_no_place_in_a_search_is_a_number_unless_it_is_written_as_one",
    "sluice_gateway.idempotency:checked_key": _HEADERS + "test_no_idempotency_key_is_other_than_visible_text",
    "sluice_gateway.incoming:parsed_query": _HEADERS + "test_no_query_does_more_than_be_refused",
    "sluice_gateway.metadata:checked": _HEADERS + "test_no_metadata_does_more_than_be_refused",
    "sluice_gateway.names:clean_name": _HEADERS + "test_no_name_that_is_asked_for_does_more_than_be_refused",
    "sluice_gateway.downloads:Tickets": _HEADERS + "test_no_ticket_that_was_not_given_opens_a_file",
    "sluice_auth.handlers.authorize:_read": _HEADERS
    + "test_no_request_for_authorization_does_more_than_be_refused",
    "sluice_auth.metadata:keys": _TOKENS + "test_no_key_of_a_registration_does_more_than_be_refused",
    "sluice_auth.remote_keys:_usable": _TOKENS + "test_no_set_of_keys_does_more_than_be_left_out",
    "sluice_security.jose:import_public": _TOKENS + "test_no_key_does_more_than_be_refused",
    "sluice_security.scopes:Scopes": _TOKENS + "test_no_scope_does_more_than_be_refused",
    "sluice_security.callers:Origins": _HEADERS + "test_no_forwarding_makes_an_address_longer_than_one",
    # measures
    "sluice_fhir.measures.datatypes:decode_artifact": _ANSWERS + "test_no_artifact_does_more_than_be_refused",
    "sluice_fhir.measures.artifacts:version_order": _ANSWERS
    + "test_any_versions_can_be_compared_and_any_canonical_be_read",
    "sluice_fhir.measures.canonicals:parse_canonical": _ANSWERS
    + "test_any_versions_can_be_compared_and_any_canonical_be_read",
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
    "sluice_security.guard:read_networks": _TOKENS + "test_no_network_does_more_than_be_refused",
    "sluice_security.sealing:read_secrets": _TOKENS
    + "test_no_secret_does_more_than_be_refused_and_is_not_told",
    "sluice_settings:Settings": _TOKENS + "test_no_settings_do_more_than_be_refused_and_are_not_told",
    "sluice_settings:from_file": _TOKENS + "test_no_settings_file_does_more_than_be_refused_and_is_not_told",
    "sluice_backup.manifest:read": _CLI + "test_no_file_does_more_than_be_refused",
    "sluice_backup.manifest:path_of": _CLI + "test_no_objects_key_leads_out_of_a_backup",
    # what the command line reads
    "sluice_client.cli.config:Config": _CLI + "test_no_file_does_more_than_be_refused",
    "sluice_client.cli.login:_public": _CLI + "test_no_file_does_more_than_be_refused",
    "sluice_client.cli.sources:_settings": _CLI + "test_no_file_does_more_than_be_refused",
    "sluice_client.assertions:ClientKey": _CLI + "test_no_file_does_more_than_be_refused",
    "sluice_client.export_folder:read_state": _CLI + "test_no_file_does_more_than_be_refused",
    "sluice_client.measures:content_of": _CLI + "test_no_file_does_more_than_be_refused",
    "sluice_client.measures:artifacts_of": _CLI + "test_no_measure_does_more_than_be_refused",
    "sluice_client.measures:_stored": _CLI + "test_no_location_does_more_than_be_refused",
    "sluice_client.pulls:job_of": _CLI + "test_no_location_does_more_than_be_refused",
    "sluice_client.submission_access:header_fields": _CLI
    + "test_no_header_fields_do_more_than_be_refused_and_are_not_told",
    "sluice_client.cli.exporting:instant_of": _CLI + "test_no_option_does_more_than_be_refused",
    "sluice_client.cli.files:pair": _CLI + "test_no_option_does_more_than_be_refused",
    "sluice_client.content_keys:_key_in": _CLI + "test_no_key_of_contents_does_more_than_be_taken_as_it_is",
    "sluice_client.transport:refusal": _CLI + "test_no_refusal_does_more_than_be_told",
    "sluice_client.transport:retry_after": _CLI + "test_no_retry_after_does_more_than_be_waited_for",
    "sluice_client.pull_requests:PullStatus": _CLI + "test_no_progress_is_beyond_its_end",
    "sluice_client.manifests:ExportStatus": _CLI + "test_no_progress_is_beyond_its_end",
    "sluice_client.oauth:_read": _CLI
    + "test_no_answer_of_the_authorization_server_does_more_than_be_refused",
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
    assert "@pytest.mark.fuzz\n" in decorators
