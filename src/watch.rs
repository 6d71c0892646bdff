//! The sources: where the cluster's objects come from. All have one face, a stream of events with an initial barrier.

pub mod convert;
pub mod manifests;
