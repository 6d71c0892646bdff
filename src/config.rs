//! The configuration file, validated into types.
