//! Nothing a harness prints breaks its adapter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_adapter_demo::Demo;
use rp_sdk::{Adapter, testing::launch_request};

fuzz_target!(|output: &[u8]| {
    let mut session = Demo::new(launch_request("demo"));
    session.started();
    for line in output.split(|byte| *byte == b'\n') {
        session.output(line);
        session.effects().take();
    }
    session.wake();
});
