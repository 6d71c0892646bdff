//! The deciding loop, and the only place that spawns.
