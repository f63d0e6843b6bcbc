terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 5.0"
    }
  }
}

resource "google_cloud_run_v2_service" "pog_server" {
  name     = var.name
  project  = var.project
  location = var.region
  ingress  = "INGRESS_TRAFFIC_ALL"

  template {
    # Tunnels at a time on one instance; 1000 is the most.
    max_instance_request_concurrency = 1000
    # A tunnel is one request: it is cut after so long. 3600 s is the most.
    timeout = "3600s"

    scaling {
      max_instance_count = var.max_instances
    }

    containers {
      image = var.image

      # The name is what makes the front end speak HTTP/2 to the container.
      ports {
        name           = "h2c"
        container_port = 8080
      }

      env {
        name  = "LOG_FORMAT"
        value = "json"
      }

      # Cloud Run kills 10 s after SIGTERM.
      env {
        name  = "DRAIN_TIMEOUT"
        value = "8"
      }

      # The keys are no secret, only the values are.
      dynamic "env" {
        for_each = nonsensitive(toset(keys(var.auth_items)))
        content {
          name  = "POG_AUTH_${env.key}"
          value = var.auth_items[env.key]
        }
      }

      # One Python process keeps one core busy; more instances, not more cores.
      resources {
        limits = {
          cpu    = "1"
          memory = "1Gi"
        }
        startup_cpu_boost = true
      }

      # HTTP probes want HTTP/1; with h2c it is gRPC.
      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 30
        grpc {
          port    = 8080
          service = "HTTPProxy"
        }
      }

      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 5
        failure_threshold = 3
        grpc {
          port    = 8080
          service = "HTTPProxy"
        }
      }
    }
  }
}

# The front door is open for everybody; who may use the proxy is up to the auth items.
resource "google_cloud_run_v2_service_iam_member" "public" {
  project  = google_cloud_run_v2_service.pog_server.project
  location = google_cloud_run_v2_service.pog_server.location
  name     = google_cloud_run_v2_service.pog_server.name
  role     = "roles/run.invoker"
  member   = "allUsers"
}
