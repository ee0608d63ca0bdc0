//! TLS to a server: ring, full verification, the system's roots or a private CA.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// The files that stand in for the system's, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    pub cacert: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// Readies the client's side of one TLS connection; no byte is sent yet.
///
/// # Errors
/// Says which file is not usable and what to give instead.
pub fn client(files: &TlsFiles, host: &str) -> Result<ClientConnection, String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} can't be the name in a certificate: use a host name or an address"))?;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(files.cacert.as_deref(), "cacert=")?);
    let config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert, "cert=")?;
            let secret = secret_key(key, "key=")?;
            config.with_client_auth_cert(chain, secret).map_err(|error| unreadable("key=", key, &error))?
        }
        _ => config.with_no_client_auth(),
    };
    ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())
}

/// The authorities in the file that `parameter` named, or this host's own.
///
/// # Errors
/// As [`client`].
pub fn roots(file: Option<&Path>, parameter: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = file {
        for certificate in certificates(file, parameter)? {
            roots.add(certificate).map_err(|error| unreadable(parameter, file, &error))?;
        }
        return Ok(roots);
    }
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        return Err(format!("this host has no certificate authorities: install ca-certificates or give {parameter}FILE"));
    }
    Ok(roots)
}

/// The certificates in the file that `parameter` named.
///
/// # Errors
/// As [`client`].
pub fn certificates(file: &Path, parameter: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => Err(unreadable(parameter, file, &"no certificate in it")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(bad_pem(parameter, file, &error)),
    }
}

/// The key in the file that `parameter` named.
///
/// # Errors
/// As [`client`].
pub fn secret_key(file: &Path, parameter: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| bad_pem(parameter, file, &error))
}

fn bad_pem(parameter: &str, file: &Path, error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => unreadable(parameter, file, &error.kind()),
        other => unreadable(parameter, file, other),
    }
}

/// The file that `parameter` named can't be used, and why.
pub fn unreadable(parameter: &str, file: &Path, why: &dyn std::fmt::Display) -> String {
    format!("can't use {parameter}{}: {why}; give a readable PEM file", file.display())
}

/// Why a handshake failed, ending in what to do; `plain` is the URL's scheme without TLS.
pub fn told(error: &rustls::Error, plain: &str) -> String {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            "its certificate is of an unknown authority: give that one's certificate as cacert=FILE".to_owned()
        }
        rustls::Error::InvalidCertificate(
            rustls::CertificateError::NotValidForName | rustls::CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another host: use the name in it".to_owned(),
        rustls::Error::InvalidCertificate(why) => format!("its certificate is not valid ({why}): renew it"),
        rustls::Error::InvalidMessage(_) => format!("it does not answer in TLS: write {plain}:// or give the TLS port"),
        rustls::Error::AlertReceived(why) => {
            format!("it breaks the handshake off ({why:?}): it may want a client certificate, cert=FILE and key=FILE")
        }
        other => format!("{}; check the server's TLS settings", other.source().map_or(other.to_string(), ToString::to_string)),
    }
}
