//! Launch requests that tests change as they need.

use crate::interface::{LaunchRequest, McpServer, MeshAccess};

/// The first start of this harness in `/home/user/project`, with nothing else asked for.
#[must_use]
pub fn launch_request(harness: &str) -> LaunchRequest {
    LaunchRequest {
        launch: "0190a1b2-0000-7000-8000-000000000001".to_owned(),
        harness: harness.to_owned(),
        cwd: "/home/user/project".to_owned(),
        agent: "user".to_owned(),
        model: None,
        resume: None,
        mesh: None,
        settings: "{}".to_owned(),
        version: None,
    }
}

/// A mesh whose token is `secret`, wherever that stands.
#[must_use]
pub fn mesh_access() -> MeshAccess {
    MeshAccess {
        server: McpServer {
            name: "mesh".to_owned(),
            command: "/usr/bin/rp-host".to_owned(),
            args: vec!["mcp".to_owned()],
            env: vec![("RP_AGENT_TOKEN".to_owned(), "secret".to_owned())],
        },
        socket: "/run/host.sock".to_owned(),
        agent_id: "0a1b2c3d".to_owned(),
        token: "secret".to_owned(),
        skill: "/home/user/skills/agent-network".to_owned(),
    }
}
