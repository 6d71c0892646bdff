//! Kubernetes objects become model types here, and stop here.
