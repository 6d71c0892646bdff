//! gobgpd's parent: a small process that outlives the agent.
