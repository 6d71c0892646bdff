//! Makes Rust of `proto/`, without `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    for (version, package) in [("v3", "apipb"), ("v4", "api")] {
        let files = protox::compile(["gobgp.proto", "attribute.proto"], [format!("proto/gobgp/{version}")])?;
        let mut config = tonic_prost_build::Config::new();
        // In version 3 attributes travel as `Any`, which names their type.
        config.enable_type_names().type_name_domain(["."], "type.googleapis.com");
        // It holds a password; apply::bgp has a Debug for it that does not show it.
        config.skip_debug([format!("{package}.PeerConf")]);
        tonic_prost_build::configure().build_server(false).compile_fds_with_config(files, config)?;
    }
    Ok(())
}
