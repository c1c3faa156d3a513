#!/bin/sh
# Starts Postgres as the postgres image does: an empty data folder is set up first, from the environment.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	# shellcheck disable=SC2086
	initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" --pgdata="$PGDATA" ${POSTGRES_INITDB_ARGS:-}
	echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
	pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -c unix_socket_directories=/tmp" -w start
	psql --host=/tmp --username=postgres --no-psqlrc --command="CREATE DATABASE $POSTGRES_DB"
	pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@" -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
