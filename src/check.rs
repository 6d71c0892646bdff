//! Is this node ready? What is missing, and how to get it.
