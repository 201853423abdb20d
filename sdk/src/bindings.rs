//! Generated from the packages in `wit/`; their documentation is there.
//!
//! Both worlds are generated here once, so that types of one guest are types of every other.
//! Only what a component exports is written into it: the macros [`harness::export!`] and
//! [`routing::export!`] do that in the component's own crate.

/// The world of harness adapters.
#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "generated"
)]
pub mod harness {
    wit_bindgen::generate!({
        path: ["../wit/session", "../wit/plugin", "../wit/harness"],
        world: "rp:harness/harness-adapter",
        pub_export_macro: true,
        default_bindings_module: "rp_sdk::harness",
        additional_derives: [PartialEq],
        runtime_path: "::wit_bindgen::rt",
        generate_all,
    });
}

/// The world of routing policies.
#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "generated"
)]
pub mod routing {
    wit_bindgen::generate!({
        path: ["../wit/plugin", "../wit/routing"],
        world: "rp:routing/routing-policy",
        pub_export_macro: true,
        default_bindings_module: "rp_sdk::routing",
        additional_derives: [PartialEq],
        runtime_path: "::wit_bindgen::rt",
        generate_all,
    });
}
