"""Opening an object store by its address.

`file:///folder`, `memory:`, `s3://bucket/prefix`, `gs://…`, `az://…`. An S3 address may carry what it takes
to reach another store than Amazon's, so that one secret file says it all:
`s3://KEY:SECRET@bucket/prefix?endpoint=http://host:port&region=eu-1`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from obstore.store import LocalStore, MemoryStore, from_url
from obstore.store import ObjectStore as Backend

if TYPE_CHECKING:
    from obstore.store import S3Config

_OPTIONS = frozenset({"endpoint", "region"})


def open_backend(url: str) -> tuple[Backend, Path | None]:
    """Open what `url` names; also give the folder, if it is one, which is made if it is not there.

    What an address does not carry of a cloud's credentials comes from its usual environment variables.

    Raises
    ------
    ValueError
        It is no such address. The text does not repeat it.
    """
    if url.startswith("file://"):
        folder = Path(unquote(url.removeprefix("file://")))
        folder.mkdir(parents=True, exist_ok=True)
        return LocalStore(folder), folder
    if url.startswith("memory:"):
        return MemoryStore(), None
    if url.startswith("s3://"):
        return _open_s3(url), None
    return from_url(url), None


def _open_s3(url: str) -> Backend:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    if not options.keys() <= _OPTIONS:
        raise ValueError(f"an s3 address takes {' and '.join(sorted(_OPTIONS))}, nothing else")
    config: S3Config = {}
    if "region" in options:
        config["region"] = options["region"]
    if "endpoint" in options:
        config["endpoint"] = options["endpoint"]
    if parts.username is not None or parts.password is not None:
        if not parts.username or not parts.password:
            raise ValueError("an s3 address carries both a key's id and the key, or neither")
        config["access_key_id"] = unquote(parts.username)
        config["secret_access_key"] = unquote(parts.password)
    plain = options.get("endpoint", "").startswith("http://")
    place = f"s3://{parts.netloc.rpartition('@')[2]}{parts.path}"
    # Without options the environment has its say on plain HTTP (AWS_ALLOW_HTTP).
    return from_url(place, config=config, client_options={"allow_http": True} if plain else None)
