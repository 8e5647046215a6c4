output "bootstrap_servers" {
  description = "host:port of the server, within its VPC."
  value       = ["${aws_network_interface.this.private_ip}:${local.port}"]
}

output "subnet_ids" {
  description = "Where clients must be."
  value       = [aws_subnet.clients.id]
}

output "security_group_ids" {
  description = "What clients must have."
  value       = [aws_security_group.clients.id]
}

output "ready" {
  description = "The server with its disk, for what has to wait for both."
  value       = aws_volume_attachment.data.id
}
