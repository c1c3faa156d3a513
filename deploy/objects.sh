#!/bin/sh
# Starts the object store with its key from the secrets, and its one bucket, a folder, made.
set -eu
umask 077
mkdir -p /data/sluice
ROOT_ACCESS_KEY_ID=$(cat /run/secrets/objects_key_id)
ROOT_SECRET_ACCESS_KEY=$(cat /run/secrets/objects_key)
export ROOT_ACCESS_KEY_ID ROOT_SECRET_ACCESS_KEY
exec /app/versitygw posix /data
