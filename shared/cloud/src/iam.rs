//! Which IAM actions the calls of the ports need.
//!
//! Beside each port is a table of its methods as [`Call`]s. A function names the calls that it makes; its policy in the
//! template is made of their actions, and a test compares both.

use std::collections::BTreeSet;

/// One method of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The port's trait.
    pub port: &'static str,
    /// The method.
    pub method: &'static str,
    /// What whoever calls it has to be allowed. First the call's own, then what AWS asks for besides.
    pub actions: &'static [&'static str],
}

/// What a function calls: lists of the modules that it is made of.
pub type Calls = &'static [&'static [Call]];

/// The actions that a function with these calls needs.
#[must_use]
pub fn actions(calls: Calls) -> BTreeSet<&'static str> {
    calls
        .iter()
        .flat_map(|list| list.iter())
        .flat_map(|call| call.actions)
        .copied()
        .collect()
}

/// Declares the calls of a port, and `ALL` of them: also of a port of another crate.
#[macro_export]
macro_rules! calls {
    ($port:literal: $($name:ident = $method:literal => [$($action:literal),* $(,)?];)+) => {
        use $crate::iam::Call;

        $(
            #[doc = concat!("`", $method, "`")]
            pub const $name: Call = Call { port: $port, method: $method, actions: &[$($action),*] };
        )+

        /// Every method of the port.
        pub const ALL: &[Call] = &[$($name),+];
    };
}
pub use calls;
