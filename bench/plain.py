"""The user's own method, written from its description and without additions.

plain.py consumer BOOTSTRAP TOPIC GROUP S3_URL BUCKET
    A consumer with one `put_object` a message. Offsets are committed automatically. It runs until it is ended.

plain.py loader BIGQUERY_URL PROJECT TABLE S3_URL BUCKET SECONDS
    Every SECONDS it lists the objects, selects those that are newer than their symbol's watermark, loads each by a
    separate job, and raises the watermark (`<TABLE>_last_ts`). It runs until it is ended.
"""

import io
import json
import os
import sys
import time


def s3_client(url: str):
    """Create the client as its documentation shows it."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="bench",
        aws_secret_access_key="bench",  # noqa: S106 - the stores here take any
    )


def consumer(bootstrap: str, topic: str, group: str, s3_url: str, bucket: str) -> None:
    """Write every message as an object."""
    from confluent_kafka import Consumer

    s3 = s3_client(s3_url)
    options = {"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest"}
    # The kill rounds shorten it for every system, so that a new process need not wait for the dead one's session.
    options |= {"session.timeout.ms": os.environ.get("SESSION_TIMEOUT_MS", "45000")}
    consumer = Consumer(options)
    consumer.subscribe([topic])
    while True:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        record = json.loads(message.value())
        key = f"{record['symbol']}/{record['fetched_at']}.json"
        s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(record), ContentType="application/json")


def loader(bigquery_url: str, project: str, table: str, s3_url: str, bucket: str, seconds: str) -> None:
    """Load the files that are newer than their symbol's watermark, by one job for each file."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    s3 = s3_client(s3_url)
    client = bigquery.Client(
        project=project, credentials=AnonymousCredentials(), client_options={"api_endpoint": bigquery_url}
    )
    config = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", write_disposition="WRITE_APPEND")
    while True:
        rows = client.query(f"SELECT symbol, last_ts FROM {table}_last_ts").result()
        watermarks = {row["symbol"]: row["last_ts"] for row in rows}
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        by_symbol: dict[str, list[tuple[int, str]]] = {}
        for page in pages:
            for entry in page.get("Contents", []):
                symbol, _, file = entry["Key"].partition("/")
                by_symbol.setdefault(symbol, []).append((int(file.removesuffix(".json")), entry["Key"]))
        for symbol, files in by_symbol.items():
            new = sorted(file for file in files if file[0] > watermarks.get(symbol, 0))
            for _, key in new:
                file = io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
                client.load_table_from_file(file, table, job_config=config).result()
            if new:
                client.query(f"DELETE FROM {table}_last_ts WHERE symbol = '{symbol}'").result()
                client.query(f"INSERT INTO {table}_last_ts VALUES ('{symbol}', {new[-1][0]})").result()
        time.sleep(float(seconds))


if __name__ == "__main__":
    {"consumer": consumer, "loader": loader}[sys.argv[1]](*sys.argv[2:])
