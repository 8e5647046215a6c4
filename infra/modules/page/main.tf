# A public address for serve-dashboard: an HTTP API with the same event as a function URL (payload format 2.0). Function
# URLs of 2026 want a second permission that provider 5.100 cannot write, and cannot be throttled.

locals {
  # Each has its own rate: the files are large and cached by browsers, the figures are small and requested
  # every few seconds. Nothing else reaches the function.
  routes = {
    figures = { path = "/api/{proxy+}", requests_per_second = var.requests_per_second }
    files   = { path = "/{proxy+}", requests_per_second = var.file_requests_per_second }
    page    = { path = "/", requests_per_second = var.file_requests_per_second }
  }
  keys = merge([for name, route in local.routes : {
    for method in ["GET", "HEAD"] : "${method} ${route.path}" => route.requests_per_second
  }]...)
}

resource "aws_apigatewayv2_api" "this" {
  name          = var.name
  description   = "The web page of ${var.name}"
  protocol_type = "HTTP"
}

resource "aws_apigatewayv2_integration" "this" {
  api_id                 = aws_apigatewayv2_api.this.id
  integration_type       = "AWS_PROXY"
  integration_uri        = var.invoke_arn
  payload_format_version = "2.0"
}

resource "aws_apigatewayv2_route" "this" {
  # checkov:skip=CKV_AWS_309:Public by choice: the page shows public prices and changes nothing
  for_each = local.keys

  api_id             = aws_apigatewayv2_api.this.id
  route_key          = each.key
  target             = "integrations/${aws_apigatewayv2_integration.this.id}"
  authorization_type = "NONE"
}

resource "aws_apigatewayv2_stage" "this" {
  # checkov:skip=CKV_AWS_76:The function logs its failures; a line for each request of a public page costs more than the page
  # checkov:skip=CKV2_AWS_51:No client has a certificate: browsers read it
  api_id      = aws_apigatewayv2_api.this.id
  name        = "$default"
  auto_deploy = true

  default_route_settings {
    throttling_rate_limit  = var.file_requests_per_second
    throttling_burst_limit = var.burst
  }

  dynamic "route_settings" {
    for_each = local.keys

    content {
      route_key              = route_settings.key
      throttling_rate_limit  = route_settings.value
      throttling_burst_limit = var.burst
    }
  }

  # A setting of a route that is not there yet is refused.
  depends_on = [aws_apigatewayv2_route.this]
}

resource "aws_lambda_permission" "this" {
  function_name = var.function_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.this.execution_arn}/*/*"
}
