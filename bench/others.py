"""Other projects' programs that do the same as Quoteflow's functions, each as its documentation shows it.

others.py quix-objects BOOTSTRAP TOPIC GROUP S3_URL BUCKET {default,throughput}
others.py dlt-rows S3_URL BUCKET BIGQUERY_URL PROJECT DATASET SECONDS

Each runs until it is ended.
"""

import os
import sys
import time


def application(bootstrap: str, group: str, **options: object):
    """Create a quixstreams application that reads a topic from its beginning."""
    from quixstreams import Application

    # The kill rounds shorten it for every system, so that a new process need not wait for the dead one's session.
    session = {"session.timeout.ms": int(os.environ.get("SESSION_TIMEOUT_MS", "45000"))}
    return Application(
        broker_address=bootstrap,
        consumer_group=group,
        auto_offset_reset="earliest",
        consumer_extra_config=session,
        loglevel="WARNING",
        **options,
    )


def quix_objects(bootstrap: str, topic: str, group: str, s3_url: str, bucket: str, kind: str) -> None:
    """Write a file for each partition at each checkpoint: every 5 s by default."""
    from quixstreams.sinks.community.file.formats import JSONFormat
    from quixstreams.sinks.community.file.s3 import S3FileSink

    # https://quix.io/docs/quix-streams/connectors/sinks/amazon-s3-sink.html: rarer commits, larger files, compressed.
    is_tuned = kind == "throughput"
    app = application(bootstrap, group, **({"commit_every": 10_000, "commit_interval": 10.0} if is_tuned else {}))
    sink = S3FileSink(
        bucket=bucket,
        aws_access_key_id="bench",
        aws_secret_access_key="bench",  # noqa: S106 - the stores here take any
        region_name="us-east-1",
        endpoint_url=s3_url,
        format=JSONFormat(compress=is_tuned),
    )
    app.dataframe(app.topic(topic, value_deserializer="json")).sink(sink)
    app.run()


def faucet_objects(bootstrap: str, topic: str, group: str, s3_url: str, bucket: str, page: int) -> str:
    """Give the file for `faucet run`, as its examples kafka_to_jsonl and rest_to_s3 have it."""
    return f"""version: 1
pipeline:
  source:
    type: kafka
    config:
      brokers: "{bootstrap}"
      topics: ["{topic}"]
      group_id: "{group}"
      value_format: {{type: json}}
      auto_offset_reset: earliest
      idle_timeout: 10
      batch_size: {page}
      session_timeout: {int(os.environ.get("SESSION_TIMEOUT_MS", "6000")) // 1000}
  sink:
    type: s3
    config:
      bucket: "{bucket}"
      prefix: quotes/
      region: us-east-1
      endpoint_url: "{s3_url}"
      file_extension: .jsonl
      concurrency: 8
      batch_size: 0
  state:
    type: file
    config:
      path: ./state
"""


def private_key() -> str:
    """Create a key. dlt requires one, although nothing here uses it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(pem, pkcs8, serialization.NoEncryption()).decode()


def dlt_rows(s3_url: str, bucket: str, bigquery_url: str, project: str, dataset: str, seconds: str) -> None:
    """Load what was modified since the last run, merged by its key."""
    import dlt
    import google.cloud.bigquery
    from dlt.sources.filesystem import filesystem, read_jsonl
    from google.auth.credentials import AnonymousCredentials

    # dlt has no setting for BigQuery's address, and none to omit the credentials.
    client = google.cloud.bigquery.Client

    def local(*_: object, **__: object):
        return client(
            project=project, credentials=AnonymousCredentials(), client_options={"api_endpoint": bigquery_url}
        )

    google.cloud.bigquery.Client = local
    os.environ |= {
        "SOURCES__FILESYSTEM__BUCKET_URL": f"s3://{bucket}",
        "SOURCES__FILESYSTEM__CREDENTIALS__AWS_ACCESS_KEY_ID": "bench",
        "SOURCES__FILESYSTEM__CREDENTIALS__AWS_SECRET_ACCESS_KEY": "bench",
        "SOURCES__FILESYSTEM__CREDENTIALS__ENDPOINT_URL": s3_url,
        "DESTINATION__BIGQUERY__CREDENTIALS__PROJECT_ID": project,
        "DESTINATION__BIGQUERY__CREDENTIALS__CLIENT_EMAIL": "bench@bench.invalid",
        "DESTINATION__BIGQUERY__CREDENTIALS__PRIVATE_KEY": private_key(),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        # The stand-in for BigQuery does not decompress requests.
        "DATA_WRITER__DISABLE_COMPRESSION": "true",
    }
    pipeline = dlt.pipeline("quotes", pipelines_dir="pipelines", destination="bigquery", dataset_name=dataset)
    while True:
        files = filesystem(file_glob="**/*.json")
        files.apply_hints(incremental=dlt.sources.incremental("modification_date"))
        quotes = (files | read_jsonl()).with_name("quotes")
        quotes.apply_hints(write_disposition="merge", primary_key="quote_id")
        pipeline.run(quotes)
        time.sleep(float(seconds))


if __name__ == "__main__":
    {"quix-objects": quix_objects, "dlt-rows": dlt_rows}[sys.argv[1]](*sys.argv[2:])
