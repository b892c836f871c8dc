locals {
  url_host     = split("/", aws_lambda_function_url.stowage.function_url)[2]
  has_domain   = var.cloudfront && var.domain_name != null
  record_types = local.has_domain && var.hosted_zone_id != null ? toset(["A", "AAAA"]) : toset([])
}

# A function URL renames WWW-Authenticate, so that most clients cannot log in. A function of CloudFront cannot put the
# header back: CloudFront calls none for an answer of 400 or more. So this one answers in the service's place, before it.
resource "aws_cloudfront_function" "edge" {
  count   = var.cloudfront ? 1 : 0
  name    = "${var.name}-${local.region}"
  comment = "Asks registry clients to log in"
  runtime = "cloudfront-js-2.0"
  publish = true
  code    = templatefile("${path.module}/edge.js", { AnonymousPull = tostring(var.anonymous_pull) })
}

resource "aws_cloudfront_distribution" "edge" {
  count           = var.cloudfront ? 1 : 0
  comment         = "${var.name} in ${local.region}"
  enabled         = true
  http_version    = "http2"
  is_ipv6_enabled = true
  aliases         = local.has_domain ? [var.domain_name] : []

  origin {
    origin_id   = "service"
    domain_name = local.url_host
    custom_origin_config {
      http_port              = 80
      https_port             = 443
      origin_protocol_policy = "https-only"
      origin_ssl_protocols   = ["TLSv1.2"]
      origin_read_timeout    = var.edge_timeout_seconds
    }
  }

  default_cache_behavior {
    target_origin_id       = "service"
    viewer_protocol_policy = "https-only" # a redirect would come after the token was sent in the clear
    allowed_methods        = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"]
    cached_methods         = ["GET", "HEAD"]
    cache_policy_id        = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad" # CachingDisabled
    # AllViewerExceptHostHeader: Authorization goes through, and a function URL answers only to its own host.
    origin_request_policy_id = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
    function_association {
      event_type   = "viewer-request"
      function_arn = aws_cloudfront_function.edge[0].arn
    }
  }

  # Errors would be kept for ten seconds, for all clients, also with the policy above: a tag could not be pulled right
  # after its load.
  dynamic "custom_error_response" {
    for_each = [400, 403, 404, 405, 414, 500, 501, 502, 503, 504]
    content {
      error_code            = custom_error_response.value
      error_caching_min_ttl = 0
    }
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    cloudfront_default_certificate = !local.has_domain
    acm_certificate_arn            = local.has_domain ? var.certificate_arn : null
    ssl_support_method             = local.has_domain ? "sni-only" : null
    minimum_protocol_version       = local.has_domain ? "TLSv1.2_2021" : null
  }

  lifecycle {
    precondition {
      condition     = var.domain_name == null || var.certificate_arn != null
      error_message = "Set certificate_arn, which domain_name needs."
    }
  }
}

resource "aws_route53_record" "edge" {
  for_each = local.record_types
  zone_id  = var.hosted_zone_id
  name     = var.domain_name
  type     = each.value
  alias {
    name                   = aws_cloudfront_distribution.edge[0].domain_name
    zone_id                = aws_cloudfront_distribution.edge[0].hosted_zone_id
    evaluate_target_health = false
  }
}
