//! Any text is answered as a manifest, and what is read holds what it promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::component::Manifest;

fuzz_target!(|text: &str| {
    if let Ok(manifest) = Manifest::parse(text) {
        assert!(manifest.world.name == manifest.kind.world());
        for permission in &manifest.permissions {
            assert!(!permission.to_string().contains('\n'));
        }
    }
});
