#!/bin/sh
# Makes what docker-compose.yml mounts as secrets, in deploy/secrets or the folder given: random ones, and a
# certificate for the host names given (localhost always) by an authority of its own. What is there stays.
#   deploy/secrets.sh [--to FOLDER] [HOST...]
# The folder is for its owner alone; the files can be read by all who get into it, because containers do so
# as users of their own.
set -eu

folder=$(dirname "$0")/secrets
if [ "${1:-}" = --to ]; then folder=$2; shift 2; fi
mkdir -p "$folder"
chmod 0700 "$folder"
cd "$folder"

random() { openssl rand -hex "$1"; }

# keep NAME: takes the secret from standard input, unless there is one.
keep() {
	if [ -e "$1" ]; then cat > /dev/null; return; fi
	cat > "$1.new"
	chmod 0444 "$1.new"
	mv "$1.new" "$1"
}

random 32 | keep secret
random 32 | keep master_keys
echo "operator-$(random 4):$(random 32)" | keep operator
random 10 | keep objects_key_id
random 20 | keep objects_key
echo "s3://$(cat objects_key_id):$(cat objects_key)@sluice?endpoint=http://objects:7070&region=us-east-1" | keep objects
random 24 | keep database_password
echo "postgresql://postgres:$(cat database_password)@postgres/sluice" | keep database_admin
for role in gateway auth fetcher scraper attacher status exporter expirer puller webhooks loader; do
	echo "postgresql://sluice_$role:$(random 24)@postgres/sluice" | keep "postgres_$role"
done
random 16 | keep grafana_password

if [ ! -e tls_cert ]; then
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	names="DNS:localhost,DNS:demo-source,IP:127.0.0.1"
	for host in "$@"; do names="$names,DNS:$host"; done
	curve="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
	# The authority's key is not kept: another certificate comes with another authority.
	# shellcheck disable=SC2086
	openssl req -x509 $curve -days 825 -subj "/CN=Sluice deployment" \
		-addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign" \
		-keyout "$work/ca.key" -out "$work/ca.pem" 2> "$work/log" || { cat "$work/log" >&2; exit 1; }
	# shellcheck disable=SC2086
	openssl req $curve -subj "/CN=sluice" -keyout "$work/tls.key" -out "$work/tls.csr" 2> "$work/log" ||
		{ cat "$work/log" >&2; exit 1; }
	printf '%s\n' "subjectAltName=$names" "basicConstraints=CA:FALSE" "keyUsage=digitalSignature" \
		"extendedKeyUsage=serverAuth" > "$work/extensions"
	openssl x509 -req -in "$work/tls.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 825 \
		-extfile "$work/extensions" -out "$work/tls.pem" 2> "$work/log" || { cat "$work/log" >&2; exit 1; }
	keep tls_key < "$work/tls.key"
	keep trusted_ca < "$work/ca.pem"
	keep tls_cert < "$work/tls.pem"
fi
