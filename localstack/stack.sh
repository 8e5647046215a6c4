#!/usr/bin/env bash
# The Docker stack of docker-compose.yml.
#   stack.sh up          starts it, waits until it is healthy, prints the addresses
#   stack.sh down [-v]   stops it; -v deletes its data
#   stack.sh test        runs the flow tests that use other servers, on a separate stack, which is removed afterwards
# AWS_EMULATOR=localstack uses LocalStack instead of ministack; MINIO=1 adds MinIO.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "error: $*" >&2
  exit 1
}

command -v docker >/dev/null || fail "docker is missing: install Docker Engine, or run the flow without it: make local"
docker info >/dev/null 2>&1 \
  || fail "no Docker daemon is reachable: start it, or name one in DOCKER_HOST; \`make local\` runs the flow without Docker"
docker compose version >/dev/null 2>&1 || fail "Docker has no compose plugin: install docker-compose-plugin (Debian: docker-compose-v2)"

emulator=${AWS_EMULATOR:-ministack}
[[ $emulator =~ ^(ministack|localstack)$ ]] || fail "AWS_EMULATOR=$emulator is neither ministack nor localstack"
export KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092 AWS_ENDPOINT_URL=http://127.0.0.1:4566 BIGQUERY_ENDPOINT=http://127.0.0.1:9050
compose=(docker compose --file localstack/docker-compose.yml)

case "${1:-}" in
  up)
    # One emulator at a time: both listen on the same port.
    [ "$emulator" = ministack ] && other=localstack || other=ministack
    "${compose[@]}" --profile '*' rm --stop --force "$other" >/dev/null
    COMPOSE_PROFILES=$emulator${MINIO:+,minio} "${compose[@]}" up --build --detach --wait
    cat <<EOF

Kafka       $KAFKA_BOOTSTRAP_SERVERS
Kafka UI    http://127.0.0.1:8080
AWS         $AWS_ENDPOINT_URL ($emulator)
BigQuery    $BIGQUERY_ENDPOINT
Prometheus  http://127.0.0.1:9090
Grafana     http://127.0.0.1:3000
Jaeger      http://127.0.0.1:16686 (OTLP: http://127.0.0.1:4318)${MINIO:+
MinIO       http://127.0.0.1:9000 (console: http://127.0.0.1:9001, quoteflow / quoteflow-local)}

Run the flow on it:

  KAFKA_BOOTSTRAP_SERVERS=$KAFKA_BOOTSTRAP_SERVERS AWS_ENDPOINT_URL=$AWS_ENDPOINT_URL \\
  BIGQUERY_ENDPOINT=$BIGQUERY_ENDPOINT OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 \\${MINIO:+
  AWS_ENDPOINT_URL_S3=http://127.0.0.1:9000 S3_ACCESS_KEY_ID=quoteflow S3_SECRET_ACCESS_KEY=quoteflow-local \\}
  make local DATA=.local-docker
EOF
    ;;
  down)
    "${compose[@]}" --profile '*' down --remove-orphans "${@:2}"
    ;;
  test)
    [ -z "$("${compose[@]}" --profile '*' ps --quiet)" ] || fail "the stack is running and uses the ports: run make docker-down first"
    # The tests count the stores' contents, so the stores must be empty at the start.
    compose+=(--project-name quoteflow-test --profile "$emulator")
    trap '"${compose[@]}" down --volumes' EXIT
    "${compose[@]}" up --build --detach --wait kafka "$emulator" bigquery
    QUOTEFLOW_STACK=1 "${PYTEST:-.venv/bin/pytest}" tests/flow/test_other_servers.py tests/flow/test_candles.py tests/flow/test_repair.py
    ;;
  *)
    fail "usage: stack.sh up | down [-v] | test"
    ;;
esac
