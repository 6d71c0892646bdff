//! Errors about credentials, in words that quote neither a kubeconfig nor what its program printed: a token or a key may
//! stand there. A parser says where it stopped, and no more.

use std::error::Error;

use kube::client::{AuthError, RustlsTlsError};
use kube::config::KubeconfigError;

/// Words for `error`, if it or one of its causes is about credentials.
pub(super) fn words(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<AuthError>() {
            return Some(auth(error));
        }
        if let Some(error) = error.downcast_ref::<KubeconfigError>() {
            return Some(kubeconfig(error));
        }
        if let Some(RustlsTlsError::InvalidIdentityPem(_)) = error.downcast_ref::<RustlsTlsError>() {
            return Some("client certificate or client key: it is not in PEM".to_owned());
        }
        next = error.source();
    }
    None
}

/// Why a kubeconfig cannot be used.
pub(super) fn kubeconfig(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => match error.location() {
            Some(place) => format!("line {}, column {}: it is not a kubeconfig in YAML", place.line(), place.column()),
            None => "it is not a kubeconfig in YAML".to_owned(),
        },
        KubeconfigError::ParseCertificates(_) => "certificate-authority: it is not in PEM".to_owned(),
        // What these quote are names, paths and errors of the system. Each is named, so that a new one has to be judged.
        KubeconfigError::CurrentContextNotSet
        | KubeconfigError::KindMismatch
        | KubeconfigError::ApiVersionMismatch
        | KubeconfigError::LoadContext(_)
        | KubeconfigError::LoadClusterOfContext(_)
        | KubeconfigError::FindPath
        | KubeconfigError::ReadConfig(..)
        | KubeconfigError::MissingClusterUrl
        | KubeconfigError::ParseClusterUrl(_)
        | KubeconfigError::ParseProxyUrl(_)
        | KubeconfigError::LoadCertificateAuthority(_)
        | KubeconfigError::LoadClientCertificate(_)
        | KubeconfigError::LoadClientKey(_) => error.to_string(),
    }
}

/// Why there is no token.
fn auth(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { out, .. } => {
            format!("the kubeconfig's exec program failed ({}); what it printed may be secret", out.status)
        }
        AuthError::AuthExecParse(_) => {
            "the kubeconfig's exec program ended well, but printed no ExecCredential".to_owned()
        }
        AuthError::ExecPluginFailed => {
            "the kubeconfig's exec program printed an ExecCredential without status".to_owned()
        }
        AuthError::MalformedTokenExpirationDate(_) => "the token's time of expiry is not one (RFC 3339)".to_owned(),
        AuthError::ParseTokenKey(_) => "the kubeconfig's auth-provider program printed no JSON".to_owned(),
        AuthError::AuthExec(_) => "the kubeconfig's auth-provider cannot be used".to_owned(),
        AuthError::AuthExecSerialize(_) => "the kubeconfig's exec program cannot be told what it is for".to_owned(),
        // What these quote are paths and errors of the system. Each is named, so that a new one has to be judged.
        AuthError::InvalidBasicAuth(_)
        | AuthError::InvalidBearerToken(_)
        | AuthError::UnrefreshableTokenResponse
        | AuthError::AuthExecStart(_)
        | AuthError::ReadTokenFile(..)
        | AuthError::MissingCommand
        | AuthError::ExecMissingClusterInfo
        | AuthError::NoValidNativeRootCA(_) => error.to_string(),
    }
}
