//! The control plane itself: nobody is anonymous, nothing is granted by default, and a restart loses nothing.

use std::io::Write;

use vipcast_lab::apiserver::{ControlPlane, Credential, Programs, ServerOptions, Unavailable};

#[test]
fn the_server_authenticates_and_authorizes() {
    let programs = match Programs::find().unwrap() {
        Ok(programs) => programs,
        Err(Unavailable(reason)) => {
            writeln!(std::io::stderr(), "SKIPPED api: {reason}").unwrap();
            return;
        }
    };
    let plane = ControlPlane::start(&programs, None).unwrap();
    let mut server = plane.serve(ServerOptions::default()).unwrap();
    let version = server.kubectl(&["get", "--raw", "/version"], "").unwrap();
    assert!(version.contains(&programs.version), "{version}");
    server.kubectl(&["create", "serviceaccount", "nobody"], "").unwrap();
    let token = Credential::Token(server.token("default", "nobody", None).unwrap());
    for (credential, code) in [(Credential::Token("wrong".into()), 401), (token, 403)] {
        let kubeconfig = server.kubeconfig(&server.url(), &credential).unwrap();
        let refused = server.kubectl(&["--kubeconfig", kubeconfig.to_str().unwrap(), "get", "services"], "");
        refused.unwrap_err();
        let code_of = |request: &vipcast_lab::apiserver::Request| request.code == code;
        assert!(server.audit().unwrap().iter().any(code_of), "{code}");
    }
    plane.stop_etcd();
    plane.start_etcd().unwrap();
    server.kill().unwrap();
    server.start().unwrap();
    plane.compact().unwrap();
    server.kubectl(&["get", "serviceaccount", "nobody"], "").unwrap();
}
