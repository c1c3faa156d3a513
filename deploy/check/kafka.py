"""Start Kafka as the apache/kafka image does: each `KAFKA_NAME` is a property, storage is formatted once."""

from __future__ import annotations

import os
import re
from pathlib import Path

_CONFIG = Path("/opt/kafka/config/server.properties")
_MARKS = {"___": "-", "__": "_", "_": "."}
_NO_PROPERTIES = {"KAFKA_HEAP_OPTS"}


def properties(environment: dict[str, str]) -> str:
    """Give the properties that the environment names."""
    lines = []
    for name, value in sorted(environment.items()):
        if name.startswith("KAFKA_") and name not in _NO_PROPERTIES:
            key = re.sub("_{1,3}", lambda mark: _MARKS[mark[0]], name.removeprefix("KAFKA_").lower())
            lines.append(f"{key}={value}\n")
    return "".join(lines)


def main() -> None:
    """Format the storage, if that has to be, and become the broker."""
    environment = dict(os.environ)
    _CONFIG.write_text(properties(environment))
    java = ["/opt/java/bin/java", *environment.get("KAFKA_HEAP_OPTS", "").split(), "-XX:TieredStopAtLevel=1"]
    java += ["-cp", "/opt/kafka/libs/*"]
    format_storage = [*java, "kafka.tools.StorageTool", "format", "--ignore-formatted"]
    format_storage += [f"--cluster-id={environment['CLUSTER_ID']}", "--config", str(_CONFIG)]
    code = os.spawnv(os.P_WAIT, java[0], format_storage)  # noqa: S606
    if code != 0:
        raise SystemExit(code)
    os.execv(java[0], [*java, "kafka.Kafka", str(_CONFIG)])  # noqa: S606


if __name__ == "__main__":
    main()
