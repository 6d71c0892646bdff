//! The kernel's notifications about what is ours.
