//! What the suites share: builders of objects and settings, a node that can fail, a planner turned by hand, and a
//! watchman who looks at every single step. They serve tests and nothing else.

pub(crate) mod build;
pub(crate) mod choice;
pub(crate) mod expected;
pub(crate) mod node;
pub(crate) mod rig;
pub(crate) mod sim;
pub(crate) mod watchman;
pub(crate) mod world;
