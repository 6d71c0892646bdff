//! The kernel executor: hands each step to its target.
