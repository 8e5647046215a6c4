mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                = "quoteflow-page"
  function_name       = "quoteflow-serve-dashboard"
  invoke_arn          = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/page/invocations"
  requests_per_second = 5
}

run "everyone_may_read_and_only_so_often" {
  command = apply
  module { source = "../modules/page" }

  assert {
    condition = (
      aws_lambda_permission.this.action == "lambda:InvokeFunction"
      && aws_lambda_permission.this.principal == "apigateway.amazonaws.com"
      && aws_lambda_permission.this.source_arn == "arn:aws:execute-api:us-east-1:123456789012:page1/*/*"
      && aws_lambda_permission.this.function_name == "quoteflow-serve-dashboard"
    )
    error_message = "This API, and nobody else, may invoke the function: otherwise every request is answered by 500."
  }
  assert {
    condition     = toset([for route in values(aws_apigatewayv2_route.this) : route.route_key]) == toset(flatten([for method in ["GET", "HEAD"] : [for path in ["/", "/{proxy+}", "/api/{proxy+}"] : "${method} ${path}"]]))
    error_message = "What does not read must not reach the function."
  }
  assert {
    condition = (
      { for setting in aws_apigatewayv2_stage.this.route_settings : setting.route_key => setting.throttling_rate_limit if startswith(setting.route_key, "GET") } == { "GET /" = 1, "GET /{proxy+}" = 1, "GET /api/{proxy+}" = 5 }
      && alltrue([for setting in aws_apigatewayv2_stage.this.route_settings : setting.throttling_burst_limit == 40])
      && length(aws_apigatewayv2_stage.this.route_settings) == 6
      && aws_apigatewayv2_stage.this.default_route_settings[0].throttling_rate_limit == 1
    )
    error_message = "Every route must be throttled."
  }
  assert {
    condition     = aws_apigatewayv2_integration.this.payload_format_version == "2.0" && aws_apigatewayv2_integration.this.integration_uri == var.invoke_arn && aws_apigatewayv2_stage.this.name == "$default" && aws_apigatewayv2_stage.this.auto_deploy
    error_message = "The function reads events of the format 2.0, at paths without a stage's name."
  }
}

run "a_rate_that_is_no_limit" {
  command = plan
  module { source = "../modules/page" }

  variables {
    requests_per_second = 1000
  }
  expect_failures = [var.requests_per_second]
}
