data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  region = data.aws_region.current.region
  # In the account's own namespace for the region: nobody else can take the name.
  bucket_name = "${var.name}-${data.aws_caller_identity.current.account_id}-${local.region}-an"
}

resource "aws_s3_bucket" "images" {
  bucket           = local.bucket_name
  bucket_namespace = "account-regional"

  lifecycle {
    prevent_destroy = true # it holds the images
  }
}

resource "aws_s3_bucket_ownership_controls" "images" {
  bucket = aws_s3_bucket.images.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "images" {
  bucket                  = aws_s3_bucket.images.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "images" {
  bucket = aws_s3_bucket.images.id
  rule {
    bucket_key_enabled = var.kms_key_arn != null
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "images" {
  bucket = aws_s3_bucket.images.id
  rule {
    id     = "unfinished-multipart-uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
  rule {
    id     = "uploads-that-nobody-finished"
    status = "Enabled"
    filter {
      prefix = "images/staging/"
    }
    expiration {
      days = 2
    }
  }
  rule {
    id     = "tarballs-that-could-not-be-loaded"
    status = "Enabled"
    filter {
      prefix = "images/incoming/"
    }
    expiration {
      days = 7
    }
  }
}

# A browser on the page of the service sends parts of large tarballs straight to the bucket.
resource "aws_s3_bucket_cors_configuration" "images" {
  bucket = aws_s3_bucket.images.id
  cors_rule {
    allowed_origins = concat(
      local.has_domain ? ["https://${var.domain_name}"] : [],
      [for edge in aws_cloudfront_distribution.edge : "https://${edge.domain_name}"],
      ["https://${local.url_host}"],
    )
    allowed_methods = ["PUT"]
    allowed_headers = ["content-type"]
    max_age_seconds = 3600
  }
}

resource "aws_s3_bucket_policy" "images" {
  bucket = aws_s3_bucket.images.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OverTlsAlone"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.images.arn, "${aws_s3_bucket.images.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
  depends_on = [aws_s3_bucket_public_access_block.images]
}

resource "aws_s3_bucket_notification" "incoming" {
  bucket = aws_s3_bucket.images.id
  lambda_function {
    lambda_function_arn = aws_lambda_function.stowage.arn
    events              = ["s3:ObjectCreated:*"]
    filter_prefix       = "images/incoming/"
  }
  depends_on = [aws_lambda_permission.incoming]
}
