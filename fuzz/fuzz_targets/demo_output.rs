//! Nothing a harness prints breaks its adapter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_adapter_demo::Demo;
use rp_sdk::{Adapter, harness::exports::rp::harness::adapter::LaunchRequest};

fuzz_target!(|output: &[u8]| {
    let mut session = Demo::new(LaunchRequest {
        cwd: "/".to_owned(),
        agent: "agent".to_owned(),
        model: None,
        resume: None,
        mesh: None,
        settings: "{}".to_owned(),
        version: None,
    });
    session.started();
    for line in output.split(|byte| *byte == b'\n') {
        session.output(line);
    }
    session.wake();
});
