//! Runs containerlab topologies in network namespaces.
