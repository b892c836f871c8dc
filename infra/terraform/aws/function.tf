locals {
  copy_stores = { for name, target in var.copy_targets : name => "s3://${target.bucket}/images?region=${target.region}" }
  copy_arns   = [for target in values(var.copy_targets) : "arn:${data.aws_partition.current.partition}:s3:::${target.bucket}"]
  environment = {
    STOWAGE_STORE           = "s3://${aws_s3_bucket.images.bucket}/images"
    STOWAGE_TOKENS          = var.tokens
    STOWAGE_OIDC            = var.oidc
    STOWAGE_ANONYMOUS_PULL  = tostring(var.anonymous_pull)
    STOWAGE_COPY_TARGETS    = length(var.copy_targets) == 0 ? "" : jsonencode(local.copy_stores)
    STOWAGE_COPY_AFTER_LOAD = var.copy_after_load ? join(",", keys(var.copy_targets)) : ""
  }
}

data "archive_file" "function" {
  type        = "zip"
  source_dir  = coalesce(var.function_folder, "${path.module}/../../aws/build/function")
  output_path = "${path.root}/.terraform/${var.name}-${local.region}.zip"
}

resource "aws_lambda_function" "stowage" {
  function_name                  = var.name
  description                    = "Stowage"
  filename                       = data.archive_file.function.output_path
  source_code_hash               = data.archive_file.function.output_base64sha256
  handler                        = "index.handler"
  runtime                        = "nodejs24.x"
  architectures                  = ["arm64"]
  memory_size                    = var.memory_megabytes
  timeout                        = 900 # the longest that Lambda allows: a large tarball is read from the bucket in one go
  reserved_concurrent_executions = var.reserved_concurrency
  role                           = aws_iam_role.stowage.arn

  environment {
    variables = merge({ for name, value in local.environment : name => value if value != "" }, var.settings)
  }

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.stowage.name
  }

  dynamic "vpc_config" {
    for_each = length(var.subnet_ids) == 0 ? [] : [true]
    content {
      subnet_ids         = var.subnet_ids
      security_group_ids = var.security_group_ids
    }
  }

  lifecycle {
    precondition {
      condition     = var.tokens != "" || var.oidc != ""
      error_message = "Set tokens or oidc, which say who may come in."
    }
  }

  depends_on = [aws_iam_role_policy.stowage, aws_iam_role_policy.network]
}

# The service asks for tokens itself (docker login knows no AWS signature), so that the URL lets everybody through to it.
resource "aws_lambda_function_url" "stowage" {
  function_name      = aws_lambda_function.stowage.function_name
  authorization_type = "NONE"
  invoke_mode        = "BUFFERED"
}

resource "aws_lambda_permission" "url" {
  statement_id           = "UrlForEverybody"
  function_name          = aws_lambda_function.stowage.function_name
  action                 = "lambda:InvokeFunctionUrl"
  principal              = "*"
  function_url_auth_type = "NONE"
}

# Beside the URL's own permission Lambda wants this one too, and by way of the URL only.
resource "aws_lambda_permission" "url_invoke" {
  statement_id             = "InvokeByUrl"
  function_name            = aws_lambda_function.stowage.function_name
  action                   = "lambda:InvokeFunction"
  principal                = "*"
  invoked_via_function_url = true
}

resource "aws_lambda_permission" "incoming" {
  statement_id   = "EventsOfTheBucket"
  function_name  = aws_lambda_function.stowage.function_name
  action         = "lambda:InvokeFunction"
  principal      = "s3.amazonaws.com"
  source_account = data.aws_caller_identity.current.account_id
  source_arn     = aws_s3_bucket.images.arn
}

# A load that fails for a reason that may pass is tried twice more; then its event is kept here for two weeks.
resource "aws_lambda_function_event_invoke_config" "incoming" {
  function_name                = aws_lambda_function.stowage.function_name
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = 21600
  destination_config {
    on_failure {
      destination = aws_sqs_queue.failed_events.arn
    }
  }
}

resource "aws_sqs_queue" "failed_events" {
  name                      = "${var.name}-failed-events"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600
}

resource "aws_cloudwatch_log_group" "stowage" {
  name              = "/stowage/${var.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_cloudwatch_event_rule" "gc" {
  count               = var.gc_schedule == null ? 0 : 1
  name                = "${var.name}-gc"
  description         = "Stowage collects blobs that no image needs"
  schedule_expression = var.gc_schedule
}

resource "aws_cloudwatch_event_target" "gc" {
  count = var.gc_schedule == null ? 0 : 1
  rule  = aws_cloudwatch_event_rule.gc[0].name
  arn   = aws_lambda_function.stowage.arn
  input = jsonencode({ stowage = "gc" })
}

resource "aws_lambda_permission" "gc" {
  count         = var.gc_schedule == null ? 0 : 1
  statement_id  = "GcBySchedule"
  function_name = aws_lambda_function.stowage.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.gc[0].arn
}
