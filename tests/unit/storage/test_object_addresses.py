"""An address says which object store is opened, and what is wrong with it is said without repeating it."""

from __future__ import annotations

from pathlib import Path

import pytest
from obstore.store import LocalStore, S3Store

from sluice_storage.objects_address import open_backend


def test_a_folder_is_made_and_given(tmp_path: Path) -> None:
    backend, folder = open_backend((tmp_path / "a b").as_uri())
    assert isinstance(backend, LocalStore)
    assert folder == tmp_path / "a b"
    assert folder.is_dir()


def test_an_s3_address_carries_key_endpoint_and_region() -> None:
    backend, folder = open_backend(
        "s3://id:se%2Fcret@bucket/some/prefix?endpoint=http://store:7070&region=eu-1"
    )
    assert isinstance(backend, S3Store)
    assert folder is None
    assert backend.prefix == "some/prefix"
    config = backend.config
    assert (config["bucket"], config["endpoint"], config["region"]) == ("bucket", "http://store:7070", "eu-1")
    assert (config["access_key_id"], config["secret_access_key"]) == ("id", "se/cret")
    assert backend.client_options is not None
    assert str(backend.client_options["allow_http"]).lower() == "true"


def test_an_s3_address_without_key_leaves_credentials_to_the_environment() -> None:
    backend, _ = open_backend("s3://bucket?endpoint=https://store")
    assert isinstance(backend, S3Store)
    assert "access_key_id" not in backend.config
    assert "allow_http" not in (backend.client_options or {})


@pytest.mark.parametrize(
    "address",
    ["s3://hunter2@bucket", "s3://:hunter2@bucket", "s3://id:hunter2@bucket?endpont=http://store"],
)
def test_a_wrong_s3_address_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(ValueError, match="s3 address") as caught:
        open_backend(address)
    assert "hunter2" not in str(caught.value)
