variable "name" {
  description = "The name of the function; the bucket's name and all others begin with it"
  type        = string
  default     = "stowage"
}

variable "function_folder" {
  description = "Where infra/aws/bundle.sh has put index.cjs"
  type        = string
  default     = null
}

variable "tokens" {
  description = "STOWAGE_TOKENS, a JSON list as `stowage token` prints its entries; it holds hashes, not the tokens themselves"
  type        = string
  default     = ""
  sensitive   = true
}

variable "oidc" {
  description = "STOWAGE_OIDC, a JSON list of rules for those who come in with the token of an issuer, such as jobs of CI"
  type        = string
  default     = ""
}

variable "anonymous_pull" {
  description = "Clients without a token may pull everything"
  type        = bool
  default     = false
}

variable "cloudfront" {
  description = "CloudFront in front of the service; without it Docker, podman, skopeo, ORAS, regctl and ctr cannot log in"
  type        = bool
  default     = true
}

variable "domain_name" {
  description = "A name of your own for CloudFront, such as images.acme.example"
  type        = string
  default     = null
}

variable "certificate_arn" {
  description = "The certificate for domain_name, of ACM in us-east-1"
  type        = string
  default     = null
}

variable "hosted_zone_id" {
  description = "The zone of Route 53 that gets the records of domain_name"
  type        = string
  default     = null
}

variable "edge_timeout_seconds" {
  description = "How long CloudFront waits for an answer; more than 60 may need a higher quota"
  type        = number
  default     = 60
}

variable "copy_targets" {
  description = "The stores in other regions: for each name the outputs `bucket` and `region` of this module there"
  type        = map(object({ bucket = string, region = string }))
  default     = {}
}

variable "copy_after_load" {
  description = "Whether each load copies to all targets"
  type        = bool
  default     = true
}

variable "gc_schedule" {
  description = "When gc goes on, more than once a day, since a new run begins a day after the last one began; null is never"
  type        = string
  default     = "rate(1 hour)"
}

variable "kms_key_arn" {
  description = "The key that encrypts the bucket; null is S3's own"
  type        = string
  default     = null
}

variable "subnet_ids" {
  description = "The subnets of a VPC that the function is in"
  type        = list(string)
  default     = []
}

variable "security_group_ids" {
  description = "The security groups of the function in the VPC"
  type        = list(string)
  default     = []
}

variable "alarm_topic_arns" {
  description = "Topics of SNS that are told of errors, throttles and events that failed"
  type        = list(string)
  default     = []
}

variable "memory_megabytes" {
  description = "Lambda gives computing power by memory; with 1769 it gives one whole core"
  type        = number
  default     = 1769
}

variable "reserved_concurrency" {
  description = "The most that run at once, which also bounds what can be spent; -1 is no bound but the account's own"
  type        = number
  default     = -1
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps the log"
  type        = number
  default     = 30
}

variable "settings" {
  description = "More settings of the service, such as { STOWAGE_GC_GRACE = \"2d\", STOWAGE_RETENTION = jsonencode([...]) }"
  type        = map(string)
  default     = {}
}
