//! vipcast: a BGP/ECMP route-announcing service proxy for Kubernetes, on IPVS.
