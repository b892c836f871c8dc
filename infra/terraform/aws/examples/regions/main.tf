# A hub in Europe, and two regions to which each load is copied. The regions only answer pulls.
terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.37, < 7.0"
    }
  }
}

provider "aws" {
  region = "eu-central-1"
}

provider "aws" {
  alias  = "us"
  region = "us-east-1"
}

provider "aws" {
  alias  = "ap"
  region = "ap-southeast-1"
}

variable "loaders" {
  description = "The tokens for the hub, a JSON list"
  type        = string
  sensitive   = true
}

variable "pullers" {
  description = "The tokens for the regions, a JSON list: they need only `pull`"
  type        = string
  sensitive   = true
}

module "hub" {
  source = "../.."
  tokens = var.loaders
  copy_targets = {
    us = { bucket = module.us.bucket, region = module.us.region }
    ap = { bucket = module.ap.bucket, region = module.ap.region }
  }
}

module "us" {
  source    = "../.."
  providers = { aws = aws.us }
  tokens    = var.pullers
}

module "ap" {
  source    = "../.."
  providers = { aws = aws.ap }
  tokens    = var.pullers
}

output "urls" {
  value = {
    hub = module.hub.url
    us  = module.us.url
    ap  = module.ap.url
  }
}

output "load_url" {
  value = module.hub.load_url
}
