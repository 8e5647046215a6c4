"""Run a Lambda handler against a Runtime API with the standard library alone: awslambdaric has no wheel for macOS.

AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001 python runtime_client.py MODULE.FUNCTION

It implements the parts of https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html that the flow needs: events
and answers in JSON, errors of the start and of an invocation, the request's id and its deadline. It ends when the API
is gone.
"""

import http.client
import importlib
import json
import os
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any

VERSION = "/2018-06-01/runtime"


@dataclass
class Context:
    """A handler's data about its invocation."""

    aws_request_id: str
    invoked_function_arn: str
    deadline_ms: int

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""
        return max(0, self.deadline_ms - int(time.time() * 1000))


class RuntimeApi:
    """One connection to the server that sends events. It waits until there is an event."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address)

    def next(self) -> tuple[Any, Context]:
        """Wait for an event."""
        self._connection.request("GET", f"{VERSION}/invocation/next")
        answer = self._connection.getresponse()
        body, headers = answer.read(), answer.headers
        if answer.status != http.client.OK:
            raise RuntimeError(f"the Runtime API answered {answer.status} to the request for an event")
        deadline = int(headers.get("Lambda-Runtime-Deadline-Ms", "0"))
        arn = headers.get("Lambda-Runtime-Invoked-Function-Arn", "")
        return json.loads(body), Context(headers["Lambda-Runtime-Aws-Request-Id"], arn, deadline)

    def post(self, path: str, body: str, **headers: str) -> None:
        """Post an answer, or an error."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("POST", VERSION + path, body.encode(), {"Content-Type": "application/json", **headers})
        self._connection.getresponse().read()

    def post_error(self, path: str, error: BaseException, request_id: str = "") -> None:
        """Post an exception as Lambda reports it."""
        kind = type(error).__name__
        trace = traceback.format_tb(error.__traceback__)
        told = {"errorMessage": str(error), "errorType": kind, "requestId": request_id, "stackTrace": trace}
        self.post(path, json.dumps(told), Lambda_Runtime_Function_Error_Type=kind)


def main() -> None:
    """Serve events until the API is gone."""
    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        module, _, function = sys.argv[1].rpartition(".")
        handler = getattr(importlib.import_module(module), function)
    except Exception as error:
        api.post_error("/init/error", error)
        raise
    while True:
        event, context = api.next()
        try:
            answer = json.dumps(handler(event, context))
        except Exception as error:
            traceback.print_exc()
            api.post_error(f"/invocation/{context.aws_request_id}/error", error, context.aws_request_id)
        else:
            api.post(f"/invocation/{context.aws_request_id}/response", answer)


if __name__ == "__main__":
    main()
