locals {
  network_actions = [
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
  ]
}

resource "aws_iam_role" "stowage" {
  name = "${var.name}-${local.region}" # a role's name is one for all regions
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "stowage" {
  name = "stowage"
  role = aws_iam_role.stowage.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Images"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        Resource = "${aws_s3_bucket.images.arn}/images/*"
      },
      # Of the whole bucket: with a condition on the prefix S3 answers 403, not 404, for an object that is not there.
      {
        Sid      = "WhatIsThere"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = aws_s3_bucket.images.arn
      },
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.stowage.arn}:*"
      },
      {
        Sid      = "FailedEvents"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.failed_events.arn
      },
    ]
  })
}

resource "aws_iam_role_policy" "key" {
  count = var.kms_key_arn == null ? 0 : 1
  name  = "key"
  role  = aws_iam_role.stowage.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = var.kms_key_arn
    }]
  })
}

# Lambda itself needs these, before it takes a function into a VPC. The function's own code may use none of them.
resource "aws_iam_role_policy" "network" {
  count = length(var.subnet_ids) == 0 ? 0 : 1
  name  = "network"
  role  = aws_iam_role.stowage.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = local.network_actions
        Resource = "*"
      },
      {
        Effect    = "Deny"
        Action    = local.network_actions
        Resource  = "*"
        Condition = { ArnLike = { "lambda:SourceFunctionArn" = "*" } }
      },
    ]
  })
}

# A bucket of another account must also allow this in its own policy.
resource "aws_iam_role_policy" "copy" {
  count = length(var.copy_targets) == 0 ? 0 : 1
  name  = "copy"
  role  = aws_iam_role.stowage.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Copies"
        Effect = "Allow"
        Action = [
          "s3:GetObject",
          "s3:PutObject",
          "s3:DeleteObject",
          "s3:AbortMultipartUpload",
          "s3:ListMultipartUploadParts", # a large copy goes on where a killed one stopped
        ]
        Resource = [for arn in local.copy_arns : "${arn}/images/*"]
      },
      {
        Sid      = "WhatIsThere"
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
        Resource = local.copy_arns
      },
    ]
  })
}
