# What the Worker of wrangler.incoming.toml needs before `wrangler deploy`: a bucket of R2 with its lifecycle, and the queues
# of the tarballs that are put under incoming/ and of those that failed. The Worker itself is wrangler's.
terraform {
  required_version = ">= 1.5"
  required_providers {
    cloudflare = {
      source  = "cloudflare/cloudflare"
      version = ">= 5.8, < 6.0"
    }
  }
}

variable "account_id" {
  description = "The account of Cloudflare"
  type        = string
}

variable "bucket_name" {
  description = "The bucket; wrangler.toml has the same name"
  type        = string
  default     = "stowage"
}

variable "location" {
  description = "Where the bucket should lie: apac, eeur, enam, oc, weur or wnam; null is near to the machine that applies this"
  type        = string
  default     = null
}

variable "queue_names" {
  description = "The queues of wrangler.incoming.toml; the first gets the events of the bucket"
  type        = list(string)
  default     = ["stowage-incoming", "stowage-dead"]
}

resource "cloudflare_r2_bucket" "images" {
  account_id = var.account_id
  name       = var.bucket_name
  location   = var.location

  lifecycle {
    prevent_destroy = true # it holds the images
  }
}

resource "cloudflare_r2_bucket_lifecycle" "images" {
  account_id  = var.account_id
  bucket_name = cloudflare_r2_bucket.images.name
  rules = [
    {
      id         = "unfinished-uploads"
      enabled    = true
      conditions = { prefix = "" }
      abort_multipart_uploads_transition = {
        condition = { type = "Age", max_age = 86400 }
      }
    },
    {
      id         = "staging"
      enabled    = true
      conditions = { prefix = "staging/" }
      delete_objects_transition = {
        condition = { type = "Age", max_age = 172800 }
      }
    },
    {
      id         = "incoming"
      enabled    = true
      conditions = { prefix = "incoming/" }
      delete_objects_transition = {
        condition = { type = "Age", max_age = 604800 }
      }
    },
  ]
}

resource "cloudflare_queue" "events" {
  for_each   = toset(var.queue_names)
  account_id = var.account_id
  queue_name = each.value
}

resource "cloudflare_r2_bucket_event_notification" "incoming" {
  account_id  = var.account_id
  bucket_name = cloudflare_r2_bucket.images.name
  queue_id    = cloudflare_queue.events[var.queue_names[0]].queue_id
  rules = [{
    description = "Tarballs to load"
    prefix      = "incoming/"
    actions     = ["PutObject", "CopyObject", "CompleteMultipartUpload"]
  }]
}

output "bucket" {
  value = cloudflare_r2_bucket.images.name
}
