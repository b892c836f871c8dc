output "url" {
  description = "Where clients log in, pull and load"
  value = (
    local.has_domain ? "https://${var.domain_name}" :
    var.cloudfront ? "https://${aws_cloudfront_distribution.edge[0].domain_name}" :
    "https://${local.url_host}"
  )
}

output "load_url" {
  description = "The service without CloudFront, for loads that take longer than CloudFront waits"
  value       = "https://${local.url_host}"
}

output "edge_name" {
  description = "What the records of domain_name point to"
  value       = one(aws_cloudfront_distribution.edge[*].domain_name)
}

output "bucket" {
  value = aws_s3_bucket.images.bucket
}

output "region" {
  value = local.region
}

output "function" {
  value = aws_lambda_function.stowage.function_name
}

output "role_arn" {
  description = "The function's role, for the policies of keys and of buckets in other accounts"
  value       = aws_iam_role.stowage.arn
}

output "log_group" {
  value = aws_cloudwatch_log_group.stowage.name
}

output "failed_events" {
  description = "The queue of the events that failed three times: loads of tarballs, and gc"
  value       = aws_sqs_queue.failed_events.url
}
