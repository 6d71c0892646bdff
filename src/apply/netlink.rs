//! Netlink messages: attributes, batches, errors by sequence number.
