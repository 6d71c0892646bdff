//! What the suites share: builders of objects and settings, and a planner turned by hand. They serve tests and
//! nothing else.

pub(crate) mod build;
pub(crate) mod rig;
