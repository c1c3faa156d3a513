#!/usr/bin/env bash
# make compose-check: builds the images and runs docker-compose.yml for real, with podman, where no image
# registry can be reached: the demo, and the commands of docs/operations.md (check.py).
# KEEP=1 leaves it running. Needs root, podman with netavark, debootstrap, go, openssl, and `make install`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)
work=${SLUICE_CHECK_FOLDER:-$checkout/build/compose-check}
certificates=/etc/ssl/certs/ca-certificates.crt
mkdir -p "$work"
cd "$checkout"

# Containers by runc without systemd, as on a build machine.
cat > "$work/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
CONF
export CONTAINERS_CONF="$work/containers.conf"

say() { printf '\n== %s\n' "$*"; }

[ -x "$work/tools/bin/podman-compose" ] || {
	python3 -m venv "$work/tools"
	"$work/tools/bin/pip" install -q "podman-compose==1.6.0"
}

say "stand-ins for the images of registries"
"$here/stand_ins.sh" "$work"

say "images of the services"
for target in $(sed -nE 's/^FROM (service|runtime) AS ([a-z]+)$/\2/p' deploy/Dockerfile | grep -v '^service$'); do
	podman build -q --format docker --network host -v "$certificates:$certificates:ro" \
		--build-arg PYTHON_IMAGE=localhost/sluice-check/python \
		-f deploy/Dockerfile --target "$target" -t "localhost/sluice/$target" . > /dev/null
done
podman images --sort repository --format '{{.Repository}} {{.Size}}' --filter 'reference=localhost/sluice/*'

say "secrets"
deploy/secrets.sh --to "$work/secrets"
export SLUICE_SECRETS="$work/secrets"

compose() {
	# Podman says of each container that it has no systemd to time health checks; they are run from here.
	"$work/tools/bin/podman-compose" -p sluice-check --env-file "$here/check.env" "$@" 2> >(grep -v systemd >&2)
}
finish() {
	code=$?
	if [ $code -ne 0 ]; then
		for id in $(podman ps -aq --filter label=com.docker.compose.project=sluice-check); do
			echo "-- $(podman inspect --format '{{.Name}} {{.State.Status}} {{.State.ExitCode}}' "$id")"
			podman logs --tail 15 "$id" 2>&1 || true
		done
	fi
	if [ -z "${KEEP:-}" ]; then clear_away; fi
	exit $code
}
clear_away() {
	# Not only what `down` knows of, which is one container of each service.
	podman ps -aq --filter label=com.docker.compose.project=sluice-check | xargs -r podman rm --force --volumes
	compose --profile demo --profile obs down --volumes || true
} > /dev/null 2>&1
trap finish EXIT
clear_away

say "the stack"
.venv/bin/python "$here/check.py" "$work"
