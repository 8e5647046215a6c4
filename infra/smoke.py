"""Follow one quote through a deployment: fetch-quotes, the bucket, bronze, gold and the page, within two minutes.

It invokes fetch-quotes for one poll, as the schedule does all the time, and from then on only reads.
`make deploy` has written the deployment's names to Systems Manager. Exit code 0: the quote is everywhere.
"""

import argparse
import json
import os
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

ENVIRONMENTS = Path(__file__).parent / "env"


class SmokeError(Exception):
    """An error whose text is for the operator."""


class Smoke:
    """One check of a deployment."""

    def __init__(self, name: str, region: str, seconds: float) -> None:
        # Without a configured endpoint, boto3 and BigQuery's client use the clouds.
        session = boto3.session.Session(region_name=region)
        config = Config(s3={"addressing_style": "path" if os.environ.get("AWS_ENDPOINT_URL") else "auto"})
        self._aws: Callable[[str], Any] = lambda service: session.client(service, config=config)
        try:
            parameter = self._aws("ssm").get_parameter(Name=f"/{name}/outputs")["Parameter"]["Value"]
        except ClientError as error:
            raise SmokeError(f"no deployment {name} in {region}: its parameter /{name}/outputs: {error}") from error
        self.outputs: dict[str, Any] = json.loads(parameter)
        project = self.outputs["bigquery"]["project"]
        endpoint = os.environ.get("BIGQUERY_ENDPOINT")
        self._bigquery = (
            bigquery.Client(project, AnonymousCredentials(), client_options={"api_endpoint": endpoint})
            if endpoint
            else bigquery.Client(project)
        )
        self._raw = f"{project}.{self.outputs['bigquery']['dataset']}"
        self._end = time.monotonic() + seconds
        self._since = int(time.time())

    def triggers(self) -> str:
        """Check that every trigger is enabled."""
        aws_lambda = self._aws("lambda")
        states = {}
        for plain, name in self.outputs["functions"].items():
            for mapping in aws_lambda.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]:
                states[plain] = mapping["State"]
                if mapping["State"] not in ("Enabled", "Enabling", "Creating", "Updating"):
                    result = mapping.get("LastProcessingResult", "")
                    raise SmokeError(f"the trigger of {name} is {mapping['State']}: {result}")
        return ", ".join(f"{plain}: {state}" for plain, state in states.items())

    def fetch(self) -> str:
        """Send fetch-quotes an event for one poll. The event waits while a scheduled one runs."""
        event = json.dumps({"polls": 1})
        self._aws("lambda").invoke(
            FunctionName=self.outputs["functions"]["fetch-quotes"], InvocationType="Event", Payload=event
        )
        return "one poll was requested"

    def objects(self) -> str:
        """Find an object of a quote that was fetched since then."""
        s3 = self._aws("s3")

        def newest() -> str | None:
            for symbol in self.outputs["symbols"]:
                listed = s3.list_objects_v2(
                    Bucket=self.outputs["buckets"]["bronze"],
                    Prefix=f"{symbol}/",
                    StartAfter=f"{symbol}/{self._since}",
                    MaxKeys=1,
                )
                if contents := listed.get("Contents"):
                    return contents[0]["Key"]
            return None

        self._key = self._await(
            newest,
            "no object arrived in the bucket. While the US market is closed only symbols with an exchange are polled, "
            "such as BINANCE:BTCUSDT; otherwise look at the logs of fetch-quotes and archive-quotes",
        )
        return self._key

    def bronze(self) -> str:
        """Find the object's row in bronze."""
        statement = (
            f"SELECT symbol, quote_id FROM `{self._raw}.bronze_stock_quotes_raw` "  # noqa: S608 - names of the deployment
            "WHERE object_key = @key AND fetched_date >= DATE_SUB(CURRENT_DATE(), INTERVAL 1 DAY)"
        )
        missing = f"no row of {self._key} arrived in bronze: look at the log of load-quotes"
        row = self._await(lambda: self._row(statement, key=self._key), missing)
        self._symbol = row["symbol"]
        return row["quote_id"]

    def gold(self) -> str:
        """Find the symbol's row in gold, from the same poll or a later one."""
        statement = (
            f"SELECT CAST(MAX(fetched_at) AS STRING) AS fetched_at FROM `{self._raw}_gold.gold_kpi` "  # noqa: S608
            "WHERE symbol = @symbol AND fetched_at >= TIMESTAMP_SECONDS(@since) HAVING COUNT(*) > 0"
        )

        def row() -> Any:
            try:
                return self._row(statement, symbol=self._symbol, since=self._since)
            except NotFound:
                return None

        missing = f"gold does not show {self._symbol}: look at the log of transform-quotes, which creates gold's views"
        return self._await(row, missing)["fetched_at"]

    def page(self) -> str:
        """Get the page, if the deployment has one."""
        url = self.outputs["dashboard_url"]
        if not url:
            return "the deployment has no page"
        for path in ("/", "/api/health"):
            with urllib.request.urlopen(url + path, timeout=20) as answer:  # noqa: S310 - the deployment's own address
                if answer.status != 200:
                    raise SmokeError(f"{url}{path} answers {answer.status}")
        return url

    def failures(self) -> str:
        """Check that there is no dead letter and no failed event."""
        sqs = self._aws("sqs")
        for name in ("archived_dead_letter", "failed_events"):
            url = self.outputs["queues"][name]
            attribute = "ApproximateNumberOfMessages"
            count = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])["Attributes"][attribute]
            if int(count):
                raise SmokeError(f"{count} messages wait in {url}; see docs/RUNBOOK.md#failed")
        return "no dead letter, no failed event"

    def _row(self, statement: str, **parameters: Any) -> dict[str, Any] | None:
        kinds = {str: "STRING", int: "INT64"}
        given = [bigquery.ScalarQueryParameter(name, kinds[type(one)], one) for name, one in parameters.items()]
        # Far above the need: these queries read megabytes.
        config = bigquery.QueryJobConfig(query_parameters=given, maximum_bytes_billed=10 * 2**30)
        rows = self._bigquery.query(statement, config).result(timeout=30)
        return next((dict(row.items()) for row in rows), None)

    def _await(self, ask: Callable[[], Any], missing: str) -> Any:
        while True:
            if found := ask():
                return found
            if time.monotonic() >= self._end:
                raise SmokeError(missing)
            time.sleep(2)


@contextmanager
def explained(step: str) -> Iterator[None]:
    """Turn errors of the clouds into errors that name the step."""
    try:
        yield
    except (BotoCoreError, ClientError, GoogleAPIError, GoogleAuthError, OSError) as error:
        raise SmokeError(f"{step}: {error}") from error


def setting(text: str, name: str, default: str) -> str:
    """Read a variable of a tfvars file."""
    found = re.search(rf'^{name} *= *"([^"]*)"', text, re.M)
    return found[1] if found else default


def main() -> int:
    """Return the exit code."""
    steps = ("triggers", "fetch", "objects", "bronze", "gold", "page", "failures")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env", help="the deployment: a folder of infra/env")
    parser.add_argument("--seconds", type=float, default=120, help="how long the quote may take (default: 120)")
    parser.add_argument("--without", choices=steps, action="append", default=[], help="leave this step out")
    options = parser.parse_args()
    file = ENVIRONMENTS / options.env / "aws.tfvars"
    if not options.env or not file.is_file():
        parser.error(f"{file} is missing: name a deployment, as in make smoke ENV=prod")
    text = file.read_text()
    started = time.monotonic()
    try:
        with explained("start"):
            name, region = setting(text, "name", "quoteflow"), setting(text, "aws_region", "us-east-1")
            smoke = Smoke(name, region, options.seconds)
        print(f"{name} in {region}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        for step in steps:
            if step not in options.without:
                with explained(step):
                    found = getattr(smoke, step)()
                print(f"{time.monotonic() - started:6.1f} s  {step:<8}  {found}", flush=True)
    except SmokeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
