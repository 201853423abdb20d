//! The worlds of `wit/` as Rust types, generated.
//!
//! The worlds import the same interfaces, so these are generated once, in [`plugin`].

#![allow(missing_docs, reason = "generated; the WIT packages document each item")]

/// What every component may import: `rp:plugin`.
pub(crate) mod plugin {
    wasmtime::component::bindgen!({
        path: ["../../wit/plugin"],
        inline: "
            package rp:engine;
            world imports {
                import rp:plugin/log@0.1.0;
                import rp:plugin/store@0.1.0;
            }
        ",
    });
}

/// The world `rp:harness/harness-adapter`.
pub(crate) mod harness {
    wasmtime::component::bindgen!({
        path: ["../../wit/session", "../../wit/plugin", "../../wit/harness"],
        world: "rp:harness/harness-adapter",
        with: { "rp:plugin/log": super::plugin::rp::plugin::log },
        exports: { default: async },
    });
}

/// The world `rp:actions/app-actions`. Its session types are those of [`harness`].
pub(crate) mod actions {
    wasmtime::component::bindgen!({
        path: ["../../wit/session", "../../wit/plugin", "../../wit/actions"],
        world: "rp:actions/app-actions",
        with: {
            "rp:plugin/log": super::plugin::rp::plugin::log,
            "rp:plugin/store": super::plugin::rp::plugin::store,
            "rp:session/types": super::harness::rp::session::types,
        },
        exports: { default: async },
    });
}

/// The world `rp:routing/routing-policy`. Its calls are synchronous and borrow what they
/// pass, because a policy stands in the path of every envelope.
pub(crate) mod routing {
    wasmtime::component::bindgen!({
        path: ["../../wit/plugin", "../../wit/routing"],
        world: "rp:routing/routing-policy",
        with: {
            "rp:plugin/log": super::plugin::rp::plugin::log,
            "rp:plugin/store": super::plugin::rp::plugin::store,
        },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}
