//! Nothing a harness prints breaks its adapter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_adapter_pi::Pi;
use rp_sdk::{Adapter, testing::launch_request};

fuzz_target!(|output: &[u8]| {
    let mut session = Pi::new(launch_request("pi"));
    session.started();
    for line in output.split(|byte| *byte == b'\n') {
        session.output(line);
        session.effects().take();
    }
    session.wake();
});
