//! A routing policy as plain Rust.

use std::cell::RefCell;

pub use crate::routing::exports::rp::routing::policy::{
    Decision, Direction, Facts, Guest, Peer, Wants,
};

/// Decides what happens to each envelope. A value is the policy with one set of settings; it
/// lives as long as its instance, which the host replaces now and then, so what it keeps in memory
/// must be nothing that it cannot lose.
pub trait Policy: Sized + 'static {
    /// The policy with these settings, a JSON object, and what it wants to be told.
    ///
    /// # Errors
    /// The settings are wrong; the text names what is, for a person.
    fn configure(settings: &str) -> Result<(Self, Wants), String>;

    /// What happens to this envelope.
    fn decide(&mut self, facts: &Facts) -> Decision;
}

/// Where a component keeps its policy between calls. The host never enters an instance twice, so
/// a borrow cannot fail.
#[derive(Debug)]
pub struct Slot<P>(RefCell<Option<P>>);

impl<P: Policy> Slot<P> {
    /// A slot without a policy.
    #[must_use]
    pub const fn empty() -> Self {
        Self(RefCell::new(None))
    }

    /// Fills it.
    ///
    /// # Errors
    /// See [`Policy::configure`]; what was there stays.
    pub fn configure(&self, settings: &str) -> Result<Wants, String> {
        let (policy, wants) = P::configure(settings)?;
        self.0.replace(Some(policy));
        Ok(wants)
    }

    /// Asks the policy. Without one, nothing is let through.
    pub fn decide(&self, facts: &Facts) -> Decision {
        match self.0.borrow_mut().as_mut() {
            Some(policy) => policy.decide(facts),
            None => Decision::Hold("the policy has no settings yet".to_owned()),
        }
    }
}

/// Makes the crate a component of the world `routing-policy`: `export_policy!(Guarded);`
/// On a machine that is no WebAssembly one, where its tests run, it does nothing.
#[macro_export]
macro_rules! export_policy {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, missing_docs, reason = "the canonical ABI is raw pointers")]
        mod component {
            use super::*;
            use $crate::policy::{Decision, Facts, Guest, Slot, Wants};

            ::std::thread_local! {
                static POLICY: Slot<$policy> = const { Slot::empty() };
            }

            struct Exported;

            impl Guest for Exported {
                fn configure(settings: String) -> Result<Wants, String> {
                    POLICY.with(|slot| slot.configure(&settings))
                }

                fn decide(facts: Facts) -> Decision {
                    POLICY.with(|slot| slot.decide(&facts))
                }
            }

            $crate::routing::export!(Exported with_types_in $crate::routing);
        }
    };
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use crate::testing::policy::facts;

    use super::*;

    /// Denies everything, with its settings as the reason.
    struct Denies(String);

    impl Policy for Denies {
        fn configure(settings: &str) -> Result<(Self, Wants), String> {
            match settings {
                "" => Err("nothing".to_owned()),
                settings => Ok((Denies(settings.to_owned()), Wants { bodies: true })),
            }
        }

        fn decide(&mut self, _: &Facts) -> Decision {
            Decision::Deny(self.0.clone())
        }
    }

    #[test]
    fn without_settings_nothing_is_let_through() {
        let slot = Slot::<Denies>::empty();
        assert!(matches!(slot.decide(&facts("web", "api")), Decision::Hold(_)));
    }

    #[test]
    fn wrong_settings_leave_the_policy_that_was_there() {
        let slot = Slot::<Denies>::empty();
        assert!(slot.configure("one").unwrap().bodies);
        assert_eq!(slot.configure("").unwrap_err(), "nothing");
        assert_eq!(slot.decide(&facts("web", "api")), Decision::Deny("one".to_owned()));
    }
}
