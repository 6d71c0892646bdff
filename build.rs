//! Makes Rust of `proto/`, without `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["gobgp.proto", "attribute.proto"], ["proto/gobgp/v3"])?;
    let mut config = tonic_prost_build::Config::new();
    // Attributes travel as `Any`, which names their type.
    config.enable_type_names().type_name_domain(["."], "type.googleapis.com");
    // It holds a password; apply::bgp::v3 has a Debug for it that does not show it.
    config.skip_debug(["apipb.PeerConf"]);
    tonic_prost_build::configure().build_server(false).compile_fds_with_config(files, config)?;
    Ok(())
}
