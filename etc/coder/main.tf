# A Coder workspace whose tasks keruta runs: a container, with the daemon started in it.
#
#   coder templates push keruta --directory etc/coder \
#       --variable keruta_api_url=http://keruta-api:8080
#
# The daemon finds its session by the workspace's name (ws-<first 8 of the session>-<name>-<number>,
# as keruta names the workspaces that it creates), or by the parameter "session".

terraform {
  required_providers {
    coder = {
      source = "coder/coder"
    }
    docker = {
      source = "kreuzwerker/docker"
    }
  }
}

variable "keruta_api_url" {
  type        = string
  description = "Address of the keruta API as the workspace reaches it."
}

variable "keruta_api_token" {
  type        = string
  default     = ""
  sensitive   = true
  description = "Token for the keruta API; empty when it asks for none."
}

variable "keruta_source" {
  type        = string
  default     = "keruta-agent"
  description = "What pip installs: a package name, a git+https address, or a path in the image."
}

variable "image" {
  type        = string
  default     = "codercom/enterprise-base:ubuntu"
  description = "Image of the workspace; it needs Python 3.11 or newer with venv, and git."
}

data "coder_provisioner" "me" {}
data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}

data "coder_parameter" "session" {
  name         = "session"
  display_name = "keruta session"
  description  = "Id of the session to serve; leave empty to find it by the workspace's name."
  type         = "string"
  default      = ""
  mutable      = true
}

resource "coder_agent" "main" {
  os   = "linux"
  arch = data.coder_provisioner.me.arch

  metadata {
    display_name = "keruta tasks"
    key          = "keruta"
    script       = "~/.keruta/venv/bin/keruta queue list --json | grep -c '\"state\": \"waiting\"' || true"
    interval     = 30
    timeout      = 5
  }
}

resource "coder_env" "api_url" {
  agent_id = coder_agent.main.id
  name     = "KERUTA_API_URL"
  value    = var.keruta_api_url
}

# Task scripts do not inherit it: keruta hands on a list of variables, and not its own.
resource "coder_env" "api_token" {
  count    = var.keruta_api_token == "" ? 0 : 1
  agent_id = coder_agent.main.id
  name     = "KERUTA_API_TOKEN"
  value    = var.keruta_api_token
}

resource "coder_env" "artifacts_dir" {
  agent_id = coder_agent.main.id
  name     = "KERUTA_ARTIFACTS_DIR"
  value    = "/home/coder/.keruta/doc"
}

resource "coder_env" "session" {
  count    = data.coder_parameter.session.value == "" ? 0 : 1
  agent_id = coder_agent.main.id
  name     = "KERUTA_SESSION_ID"
  value    = data.coder_parameter.session.value
}

# For keep-awake.sh: the workspace is not stopped while a task's script is at work. Scripts do not
# inherit the token either.
resource "coder_env" "keep_awake" {
  agent_id = coder_agent.main.id
  name     = "KERUTA_KEEP_AWAKE_HOOK"
  value    = "/home/coder/.keruta/keep-awake.sh"
}

resource "coder_env" "coder_url" {
  agent_id = coder_agent.main.id
  name     = "CODER_URL"
  value    = data.coder_workspace.me.access_url
}

resource "coder_env" "coder_session_token" {
  agent_id = coder_agent.main.id
  name     = "CODER_SESSION_TOKEN"
  value    = data.coder_workspace_owner.me.session_token
}

resource "coder_script" "keruta" {
  agent_id     = coder_agent.main.id
  display_name = "keruta"
  run_on_start = true
  script = templatefile("${path.module}/startup.sh", {
    source     = var.keruta_source
    keep_awake = file("${path.module}/keep-awake.sh")
  })
}

resource "docker_volume" "home" {
  name = "coder-${data.coder_workspace.me.id}-home"
}

resource "docker_container" "workspace" {
  count    = data.coder_workspace.me.start_count
  image    = var.image
  name     = "coder-${data.coder_workspace_owner.me.name}-${lower(data.coder_workspace.me.name)}"
  hostname = data.coder_workspace.me.name
  # Adopts what scripts leave behind.
  init       = true
  entrypoint = ["sh", "-c", coder_agent.main.init_script]
  env        = ["CODER_AGENT_TOKEN=${coder_agent.main.token}"]

  volumes {
    container_path = "/home/coder"
    volume_name    = docker_volume.home.name
  }
}
