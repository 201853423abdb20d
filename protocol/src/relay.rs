//! What goes between a relay and those who connect to it.

pub mod legacy;
