//! The dummy link and the local routes, over rtnetlink.
