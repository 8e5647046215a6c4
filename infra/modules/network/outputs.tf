output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "The private subnets, one in each zone."
  value       = [for zone in var.availability_zones : aws_subnet.private[zone].id]
}
