#!/usr/bin/env bash
# make compose-check: builds the images and runs docker-compose.yml for real, with podman, where no image
# registry can be reached; then the demo: an import of documents and of FHIR data, and an export.
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
fail() { echo "compose-check: $*" >&2; exit 1; }

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
containers() { podman ps -aq --filter "label=com.docker.compose.project=sluice-check" --filter "label=com.docker.compose.service=$1"; }
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

healthy() { # healthy SERVICE...: waits until every container of each says that it is
	for service in "$@"; do
		for id in $(containers "$service"); do
			for _ in $(seq 90); do
				if podman healthcheck run "$id" > /dev/null 2>&1; then continue 2; fi
				[ "$(podman inspect --format '{{.State.Status}}' "$id")" = running ] || fail "$service ended"
				sleep 1
			done
			fail "$service is not healthy: $(podman healthcheck run "$id" 2>&1 | tail -1)"
		done
	done
	echo "healthy: $*"
}
ended_well() { # ended_well SERVICE: its one container has ended, with code 0
	[ "$(podman wait "$(containers "$1")")" = 0 ] || fail "$1 failed"
}

say "stores"
compose up -d --no-deps kafka postgres objects > /dev/null
healthy kafka postgres objects
compose up -d --no-deps migrate topics > /dev/null
ended_well migrate
ended_well topics

compose --profile obs up -d --no-deps prometheus collector traces > /dev/null
healthy prometheus

services=$(cd services && ls -d -- */ | tr -d /)
say "services, fetcher three times"
# shellcheck disable=SC2086
compose up -d --no-deps --scale fetcher=3 $services > /dev/null
# shellcheck disable=SC2086
healthy $services
[ "$(containers fetcher | wc -l)" = 3 ] || fail "fetcher was not scaled"
compose --profile demo up -d --no-deps proxy source > /dev/null
healthy proxy source

say "what it must not do"
for service in $services; do
	id=$(containers "$service" | sed -n 1p)
	[ "$(podman exec "$id" id -u)" != 0 ] || fail "$service runs as root"
	if podman exec "$id" touch /opt/sluice/x 2> /dev/null; then fail "$service can write its image"; fi
	[ "$(podman exec "$id" awk '/CapEff/ {print $2}' /proc/self/status)" = 0000000000000000 ] ||
		fail "$service has capabilities"
done
ca="$work/secrets/trusted_ca"
speaks() { curl -s -o /dev/null --cacert "$ca" "$@" https://localhost:8443/fhir/metadata; }
speaks --tlsv1.2 --tls-max 1.2 || fail "the proxy does not speak TLS 1.2"
speaks --tlsv1.3 || fail "the proxy does not speak TLS 1.3"
if speaks --tlsv1.0 --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0; then fail "the proxy speaks TLS 1.1"; fi
asked() { curl -s -o /dev/null -w '%{http_code}' --cacert "$ca" "$1"; }
[ "$(asked https://localhost:8443/fhir/metadata)" = 200 ] || fail "the API does not answer"
[ "$(asked https://localhost:8444/oauth/jwks)" = 200 ] || fail "the authorization server does not answer"
[ "$(asked https://localhost:8443/metrics)" = 404 ] || fail "metrics are served to the world"
echo "non-root, read-only, without capabilities; TLS 1.2 and 1.3 only; metrics stay inside"

say "the demo"
compose --profile demo run --rm --no-deps -T demo || fail "the demo failed"
say "what is seen of it"
address() { podman inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' "$(containers "$1")" | cut -d' ' -f1; }
.venv/bin/python "$here/observed.py" --prometheus "http://$(address prometheus):9090" \
	--traces "http://$(address traces):16686" || fail "the stack cannot be observed as it should"
say "a backup"
compose --profile tools run --rm --no-deps -T backup create /backups/check || fail "the backup failed"
compose --profile tools run --rm --no-deps -T backup check /backups/check || fail "the backup is not whole"
say "compose-check passed"
