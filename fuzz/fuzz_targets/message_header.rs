//! The header of a message is read back, and no sender and no body can forge another one.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../host/session/src/header.rs"]
mod header;

const ID: &str = "0199aaaa-0000-7000-8000-000000000001";

fuzz_target!(|input: (String, String, bool)| {
    let (from, body, answers) = input;
    let re = answers.then_some("0199aaaa-0000-7000-8000-000000000002");
    let line = header::header(&from, "agent", ID, re);
    assert_eq!(header::header_id(&line), Some(ID));
    let text = format!("{line}\n{}\n\n(a hint)", header::guarded(&body));
    let found: Vec<_> = header::message_ids(&text).collect();
    assert_eq!(found, [ID]);
    // Whatever a line is, reading it ends.
    let _ = header::header_id(&body);
});
