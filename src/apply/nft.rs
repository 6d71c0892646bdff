//! The table `inet vipcast` and the classic SNAT rule.
