variable "project" {
  type        = string
  description = "Google Cloud project."
}

variable "region" {
  type        = string
  description = "Where the server runs: the world sees addresses of that region."
}

variable "image" {
  type        = string
  description = "The image of deploy/Dockerfile, in a registry that Cloud Run can read."
}

variable "name" {
  type    = string
  default = "pog-server"
}

variable "max_instances" {
  type    = number
  default = 10
}

variable "auth_items" {
  type        = map(string)
  sensitive   = true
  description = <<-EOT
    Who may use the server: NAME = the line that `pog auth new` prints. It becomes the variable POG_AUTH_NAME. The line
    holds a hash of the password; it still does not belong into a repository.
  EOT

  validation {
    condition     = length(var.auth_items) > 0
    error_message = "Without an item the server opens no tunnels."
  }

  validation {
    condition     = alltrue([for item in values(var.auth_items) : can(jsondecode(item).hash)])
    error_message = "Each value must be a line of `pog auth new`: {\"name\":...,\"hash\":...,\"exp_date\":...}."
  }
}
