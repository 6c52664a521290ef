//! TLS, as the daemon, whoever asks it, and probes speak it: by one provider, which is named and never looked for.

use crate::error::Error;
use crate::platform::{
    Hidden, LaunchPlan, kind_of_file, open_without_waiting, other_users, other_writers,
};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A larger file is no key, no certificates and no tokens.
const LARGEST: u64 = 1 << 20;

/// Where systems keep the certificates that they trust.
const TRUSTED: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Who may see a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Everybody, and others can't write it.
    ByAll,
    /// Nobody but this user and root.
    ByNobody,
}

/// What stands in a regular file of bounded size, read by one descriptor. `kind` is what it should be, for messages.
pub(crate) fn read(path: &Path, kind: &str, seen: Seen) -> Result<Hidden, Error> {
    let name = LaunchPlan::readable(path);
    let failed = |error| Error::io(format!("failed to read the {kind} `{name}`"), error);
    // Looked at before it is opened, since opening some devices does something; and after, since it may have changed.
    let before = fs::metadata(path).map_err(failed)?;
    let file = open_without_waiting(path).map_err(failed)?;
    let after = file.metadata().map_err(failed)?;
    for metadata in [before, after] {
        if !metadata.is_file() {
            let is = kind_of_file(metadata.file_type());
            return Err(Error::asked(format!("the {kind} `{name}` is {is}"), ""));
        }
    }
    let (others, right, remedy) = match seen {
        Seen::ByAll => (other_writers(&file), "write", "chmod go-w"),
        Seen::ByNobody => (other_users(&file), "read", "chmod 600"),
    };
    if let Some(who) = others.map_err(failed)? {
        let message = format!("{who} can {right} the {kind} `{name}`");
        return Err(Error::asked(message, format!("`{remedy} {name}` keeps them out")));
    }
    let mut bytes = Hidden(Vec::new());
    file.take(LARGEST + 1).read_to_end(&mut bytes.0).map_err(failed)?;
    if bytes.0.len() as u64 > LARGEST {
        let message = format!("the {kind} `{name}` is larger than {LARGEST} bytes");
        return Err(Error::asked(message, ""));
    }
    Ok(bytes)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn wrong(what: &str, path: &Path, error: &dyn std::fmt::Display) -> Error {
    let name = LaunchPlan::readable(path);
    Error::asked(format!("`{name}` can't be used as {what}: {error}"), "")
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path, "certificate file", Seen::ByAll)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes.0).collect();
    let all = all.map_err(|error| wrong("a certificate", path, &error))?;
    if all.is_empty() {
        return Err(wrong("a certificate", path, &"there is none in PEM in it"));
    }
    Ok(all)
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| wrong("an authority", path, &error))?;
    }
    Ok(roots)
}

/// What a server shows, and whose certificates it wants from its clients, if of anybody.
pub(crate) fn acceptor(
    certificate: &Path,
    key: &Path,
    clients: Option<&Path>,
) -> Result<TlsAcceptor, Error> {
    let chain = certificates(certificate)?;
    let bytes = read(key, "key file", Seen::ByNobody)?;
    let secret = PrivateKeyDer::from_pem_slice(&bytes.0)
        .map_err(|error| wrong("a private key", key, &error))?;
    let versions = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| wrong("a private key", key, &error))?;
    let verified = match clients {
        None => versions.with_no_client_auth(),
        Some(path) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots(path)?.into(), provider());
            let verifier = verifier.build().map_err(|error| wrong("an authority", path, &error))?;
            versions.with_client_cert_verifier(verifier)
        }
    };
    let mut config = verified
        .with_single_cert(chain, secret)
        .map_err(|error| wrong("the key of that certificate", key, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

/// What a client asks with who trusts the authorities in this file, else those of the system.
pub(crate) fn connector(authorities: Option<&Path>) -> Result<TlsConnector, Error> {
    let usual = || TRUSTED.iter().map(Path::new).find(|path| path.exists());
    let Some(path) = authorities.or_else(usual) else {
        let message = "this system has no list of authorities to trust";
        return Err(Error::asked(message, "name the daemon's with `--ca FILE`"));
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| wrong("an authority", path, &error))?
        .with_root_certificates(roots(path)?)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

/// What a probe asks with: whatever certificate is shown is taken, since all it wants to know is whether somebody answers.
pub(crate) fn unverified() -> Result<TlsConnector, rustls::Error> {
    let provider = provider();
    let any = Arc::new(Unverified(provider.clone()));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(any)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

/// Takes every certificate, and every signature by it: who needn't be the one they say needn't prove it.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
