"""Settings: what is refused before the service starts."""

from typing import Any

import pytest
from pydantic import ValidationError

from support.auth_server import settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": "short"},
        {"secret": "zz" * 40 + "!"},
        {"issuer": "auth.test"},
        {"issuer": "https://auth.test/?x=1"},
        {"public_url": "ftp://api.test"},
        {"token_lifetime": 301},
        {"registration": "perhaps"},
        {"registration": "token"},
        {"registration": "token", "registration_token": "short"},
        {"client_scopes": "root"},
        {"bootstrap_operator": "operator"},
        {"bootstrap_operator": "operator:short"},
        {"bootstrap_operator": "bad id:" + "x" * 40},
        {"listen": "8081"},
    ],
)
def test_a_wrong_setting_is_refused_by_name_and_without_its_value(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**wrong)
    told = caught.value.errors(include_url=False, include_input=False, include_context=False)
    assert len(told) == 1


def test_addresses_lose_their_last_slash() -> None:
    known = settings(issuer="https://auth.test/", public_url="https://api.test/", audiences="https://b.test/")
    assert known.issuer == "https://auth.test"
    assert known.all_audiences == ("https://api.test", "https://b.test")


def test_secrets_are_not_shown() -> None:
    known = settings(bootstrap_operator="operator:" + "s3cr3t" * 10)
    assert "s3cr3t" not in repr(known)
    assert known.operator == ("operator", "s3cr3t" * 10)
