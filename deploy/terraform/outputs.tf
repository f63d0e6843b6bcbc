output "server_addr" {
  description = "SERVER_ADDR of the client."
  value       = "${trimprefix(google_cloud_run_v2_service.pog_server.uri, "https://")}:443"
}
