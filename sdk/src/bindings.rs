//! Generated from the packages in `wit/`; their documentation is there.
//!
//! All worlds are generated here once, so that types of one guest are types of every other.
//! Only what a component exports is written into it: the macros [`harness::export!`],
//! [`routing::export!`] and [`actions::export!`] do that in the component's own crate.

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

/// The world of app actions.
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
pub mod actions {
    wit_bindgen::generate!({
        path: ["../wit/session", "../wit/plugin", "../wit/actions"],
        world: "rp:actions/app-actions",
        pub_export_macro: true,
        default_bindings_module: "rp_sdk::actions",
        additional_derives: [PartialEq],
        runtime_path: "::wit_bindgen::rt",
        generate_all,
        with: { "rp:session/types@0.1.0": crate::harness::rp::session::types },
    });
}
