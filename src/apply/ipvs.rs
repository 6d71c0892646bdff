//! Virtual servers, over generic netlink.
