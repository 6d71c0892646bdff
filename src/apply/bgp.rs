//! gobgpd, over gRPC.
