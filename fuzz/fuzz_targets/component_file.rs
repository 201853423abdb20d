//! What can be told of a component's file before the compiler sees it: any bytes are answered.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../host/engine/src/preflight.rs"]
mod preflight;

/// What the check can say, as the engine has it.
mod error {
    #[allow(dead_code, reason = "only told apart, never read")]
    #[derive(Debug)]
    pub enum LoadError {
        TooLarge { bytes: u64, limit: u64 },
        NotWebAssembly,
        CoreModule,
        Truncated,
    }
}

const LIMIT: u64 = 1 << 16;

fuzz_target!(|bytes: Vec<u8>| {
    if preflight::check(&bytes, LIMIT).is_ok() {
        assert!(bytes.starts_with(b"\0asm") && bytes.len() as u64 <= LIMIT);
        // A file that is cut in its last section is not whole.
        if bytes.len() > 8 {
            assert!(preflight::check(&bytes[..bytes.len() - 1], LIMIT).is_err());
        }
    }
});
