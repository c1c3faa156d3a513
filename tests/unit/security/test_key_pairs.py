"""Key pairs that clients make for themselves."""

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from sluice_auth.metadata import serves
from sluice_security import jose
from sluice_security.keys import ALGORITHMS, make_key_pair


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_the_private_half_signs_the_public_half_verifies(algorithm: str) -> None:
    pair = make_key_pair(algorithm)
    (public,) = pair.public["keys"]
    private_key: ECKey | RSAKey = (ECKey if algorithm == "ES384" else RSAKey).import_key(pair.private)
    token = jws.serialize_compact(
        {"alg": algorithm, "kid": pair.kid}, b'{"jti": "1"}', private_key, algorithms=[algorithm]
    )
    key = jose.import_public(public)
    assert key is not None
    assert jws.deserialize_compact(token, key, algorithms=[algorithm]).payload == b'{"jti": "1"}'


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_public_half_can_be_registered_and_holds_nothing_private(algorithm: str) -> None:
    pair = make_key_pair(algorithm)
    (public,) = pair.public["keys"]
    assert serves(public)
    assert jose.PRIVATE.isdisjoint(public)
    assert {"kid": pair.kid, "alg": algorithm, "use": "sig"}.items() <= public.items()
    assert {"kid": pair.kid, "alg": algorithm, "use": "sig"}.items() <= pair.private.items()
    assert pair.private["d"] not in repr(pair)


def test_no_two_keys_share_an_id() -> None:
    assert make_key_pair().kid != make_key_pair().kid


def test_other_algorithms_are_refused() -> None:
    with pytest.raises(ValueError, match="ES384 or RS384"):
        make_key_pair("HS256")
