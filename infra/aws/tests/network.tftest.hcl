mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name = "quoteflow"
}

run "a_subnet_in_each_zone_and_one_for_the_gateway" {
  command = apply
  module { source = "../modules/network" }

  variables {
    cidr               = "10.42.0.0/20"
    availability_zones = ["us-east-1a", "us-east-1b"]
  }

  assert {
    condition     = [for zone in ["us-east-1a", "us-east-1b"] : aws_subnet.private[zone].cidr_block] == ["10.42.1.0/24", "10.42.2.0/24"] && aws_subnet.public.cidr_block == "10.42.0.0/24"
    error_message = "The subnets must not overlap."
  }
  assert {
    condition = alltrue([
      [for route in aws_route_table.private.route : "${route.cidr_block} ${route.nat_gateway_id}"] == ["0.0.0.0/0 ${aws_nat_gateway.this.id}"],
      [for route in aws_route_table.public.route : "${route.cidr_block} ${route.gateway_id}"] == ["0.0.0.0/0 ${aws_internet_gateway.this.id}"],
      alltrue([for zone, subnet in aws_subnet.private : aws_route_table_association.private[zone].route_table_id == aws_route_table.private.id && aws_route_table_association.private[zone].subnet_id == subnet.id]),
      aws_route_table_association.public.route_table_id == aws_route_table.public.id && aws_route_table_association.public.subnet_id == aws_subnet.public.id,
      aws_nat_gateway.this.subnet_id == aws_subnet.public.id,
    ])
    error_message = "fetch-quotes and the trigger's pollers must reach the internet: private subnets by the gateway, which is in the public one."
  }
}

run "a_range_too_small_to_be_cut" {
  command = plan
  module { source = "../modules/network" }

  variables {
    cidr               = "10.42.0.0/26"
    availability_zones = ["us-east-1a", "us-east-1b"]
  }
  expect_failures = [var.cidr]
}

run "one_zone_only" {
  command = plan
  module { source = "../modules/network" }

  variables {
    cidr               = "10.42.0.0/20"
    availability_zones = ["us-east-1a"]
  }
  expect_failures = [var.availability_zones]
}
