output "url" {
  description = "The page's address."
  value       = aws_apigatewayv2_api.this.api_endpoint
}

output "api_id" {
  description = "The API's id, the dimension of its metrics."
  value       = aws_apigatewayv2_api.this.id
}
