"""Parsers of what the command line, the SDK and a restore read: read, or refused, and no more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_backup import manifest as backup
from sluice_client.assertions import ClientKey
from sluice_client.cli.config import Config
from sluice_client.cli.exporting import _is_error as is_error
from sluice_client.cli.exporting import instant_of, members_of
from sluice_client.cli.files import pair
from sluice_client.cli.grants import _time as time_of
from sluice_client.cli.login import _public as public_key
from sluice_client.cli.sources import _settings as source_settings
from sluice_client.content_keys import _key_in as key_in
from sluice_client.doctor import _json as doctors_json
from sluice_client.errors import ApiError, SluiceError
from sluice_client.export_folder import STATE, read_state
from sluice_client.manifests import ExportStatus
from sluice_client.measures import _Response as Response
from sluice_client.measures import _stored as stored
from sluice_client.measures import artifacts_of, content_of
from sluice_client.oauth import _read as read_grant
from sluice_client.pull_requests import PullStatus
from sluice_client.pulls import job_of
from sluice_client.submission_access import header_fields
from sluice_client.transport import Answer, refusal, retry_after
from support.fuzzing import bytes_near, json_values

DEEP = b'{"x":' + b"[" * 100_000
CONFIG = b'{"profiles":{"default":{"url":"https://h.test","client_id":"c","client_secret":"s"}}}'
EXPORT = (
    b'{"service":"https://h.test","started":"2026-01-31T12:00:00Z","request":{},"files":'
    b'[{"file":{"url":"u","kind":"output"},"name":"Patient.0001.ndjson"}]}'
)
JWK = b'{"keys":[{"kty":"EC","crv":"P-384","kid":"k","x":"AQ","y":"AQ","d":"AQ"}]}'
BACKUP = (
    b'{"sluice":"0.1.0","migrations":[],"began_at":"2026-01-31T12:00:00Z","dumped_at":"2026-01-31T12:00:00Z",'
    b'"ended_at":"2026-01-31T12:00:00Z","postgres":"16","cluster":"c","roles":[],"log":[],"secrets":[],'
    b'"files":{},"objects":1,"object_bytes":1}'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


FILES: dict[str, tuple[str, type[Exception], Callable[[Path], object]]] = {
    "config": ("config.json", SluiceError, lambda path: Config({"SLUICE_CONFIG": str(path)}).kept()),
    "export": (STATE, SluiceError, lambda path: read_state(path.parent)),
    "key": ("key.jwks", SluiceError, ClientKey.read),
    "public key": ("public.jwks", SluiceError, public_key),
    "source": ("source.json", SluiceError, source_settings),
    "backup": (backup.MANIFEST, backup.BackupError, lambda path: backup.read(path.parent)),
    "measure": ("measure.json.gz", SluiceError, content_of),
}


@pytest.mark.fuzz
@pytest.mark.parametrize("which", FILES)
@given(content=bytes_near(CONFIG, EXPORT, JWK, BACKUP, b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"))
@example(content=DEEP)
@example(content=b'{"kty":[],"kid":"k","d":""}')
def test_no_file_does_more_than_be_refused(folder: Path, which: str, content: bytes) -> None:
    name, error, read = FILES[which]
    path = folder / name
    path.write_bytes(content)
    with suppress(error):
        read(path)


@pytest.mark.fuzz
@given(st.text(max_size=30) | st.sampled_from(["../x", "/etc/x", "a/../../x", "a/b"]))
def test_no_objects_key_leads_out_of_a_backup(key: str) -> None:
    try:
        found = backup.path_of(Path("/backup"), key)
    except backup.BackupError:
        return
    assert ".." not in found.parts
    assert found.is_relative_to("/backup")


HEADERS = "Authorization: Bearer x\nX-Client: a\n"


@pytest.mark.fuzz
@given(st.text(max_size=40) | st.lists(st.sampled_from(HEADERS.splitlines()), max_size=3).map("\n".join))
def test_no_header_fields_do_more_than_be_refused_and_are_not_told(text: str) -> None:
    try:
        found = header_fields(text)
    except SluiceError as error:
        assert len(text) < 30 or text not in str(error)  # noqa: PT017 - either is right
        return
    assert all(name and value for name, value in found.items())


@pytest.mark.fuzz
@given(st.text(max_size=40))
@example("2026-01-31T12:00:00+23:59")
@example("0001-01-01")
def test_no_option_does_more_than_be_refused(text: str) -> None:
    for read in (lambda: instant_of(text, "--since"), lambda: time_of(text), lambda: pair(text)):
        with suppress(typer.BadParameter):
            assert read() is not None
    assert all("," not in member for member in members_of([text]))


ARTIFACT = b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Measure","id":"m"}}]}'


@pytest.mark.fuzz
@given(bytes_near(ARTIFACT))
@example(DEEP)
@example(b'{"resourceType":"Bundle","entry":[{"resource":' + b"[" * 100_000)
def test_no_measure_does_more_than_be_refused(content: bytes) -> None:
    with suppress(SluiceError):
        assert bytes(artifacts_of(content))


@pytest.mark.fuzz
@given(bytes_near(b'{"k":"AQEB"}', b"eyJhbGciOiJkaXIifQ....", b"0" * 32))
@example(DEEP)
@example(b'{"k":null}')
def test_no_key_of_contents_does_more_than_be_taken_as_it_is(held: bytes) -> None:
    assert isinstance(key_in(held), bytes | str)


PROBLEM = b'{"code":"not_found","message":"m","more_info":"i"}'
OUTCOME = b'{"resourceType":"OperationOutcome","issue":[{"code":"","diagnostics":"d","details":{"text":""}}]}'
names = st.sampled_from(["Retry-After", "Content-Location", "Date"])
said = st.text(st.characters(codec="latin-1"), max_size=30) | st.from_regex(r"[0-9]{1,30}", fullmatch=True)


@pytest.mark.fuzz
@given(bytes_near(PROBLEM, OUTCOME), st.dictionaries(names, said), st.sampled_from([400, 429, 500, 503]))
@example(DEEP, {}, 500)
def test_no_refusal_does_more_than_be_told(body: bytes, headers: dict[str, str], status: int) -> None:
    error = refusal(status, headers, body)
    assert isinstance(error, ApiError)
    assert str(error)
    assert isinstance(doctors_json(body), dict)
    assert is_error(body) in (True, False)


dates = st.from_regex(
    r"[A-Z][a-z]{2}, [0-9]{1,2} (Jan|Dec) [0-9]{1,5} ([0-9]{2}:){2}[0-9]{2} (GMT|[+-][0-9]{4})"
)


@pytest.mark.fuzz
@given(said | dates)
@example("\u00b2")
@example("9" * 5000)
@example("Mon, 01 Jan 0001 00:00:00 -0000")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
def test_no_retry_after_does_more_than_be_waited_for(text: str) -> None:
    after = retry_after({"Retry-After": text})
    assert after is None or after >= 0


@pytest.mark.fuzz
@given(st.text(max_size=20) | st.from_regex(r"(Loading: )?[0-9]{1,30}(\.[0-9]{1,9})? ?%", fullmatch=True))
@example("9" * 5000 + "%")
def test_no_progress_is_beyond_its_end(text: str) -> None:
    for status in (PullStatus(job="j", progress=text), ExportStatus(finished=False, progress=text)):
        assert status.percent is None or 0 <= status.percent <= 100


@pytest.mark.fuzz
@given(st.text(max_size=40) | st.from_regex(r"(https://h\.test/)?(Measure/)?[a-z]{0,3}(/_history/[0-9])?"))
def test_no_location_does_more_than_be_refused(text: str) -> None:
    assert stored(Response(status="201", location=text)).created
    with suppress(SluiceError):
        assert "/" not in job_of(Answer(202, {"Content-Location": text}, b""))


class Grant(msgspec.Struct):
    access_token: str
    expires_in: float = 0.0


@pytest.mark.fuzz
@given(bytes_near(b'{"access_token":"a","expires_in":300}') | json_values.map(msgspec.json.encode))
@example(DEEP)
def test_no_answer_of_the_authorization_server_does_more_than_be_refused(body: bytes) -> None:
    kind: Any
    for kind in (Grant, dict[str, Any]):
        with suppress(SluiceError):
            read_grant(body, kind)
