//! TLS to a PostgreSQL server, by `sslmode`: ring, the authority that was named or this host's.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use super::address::{Host, Roots, SslMode, Tls};
use crate::store::wire::tls::{certificates, roots, secret_key, unreadable};

/// Readies the client's side of one TLS connection; no byte is sent yet.
///
/// # Errors
/// Says which file is not usable and what to give instead.
pub(super) fn client(tls: &Tls, mode: SslMode, host: &Host) -> Result<ClientConnection, String> {
    let name = ServerName::try_from(host.name.clone())
        .map_err(|_| format!("{:?} can't be the name in a certificate: use a host name or an address", host.name))?;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&ring))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = match (mode, &tls.roots) {
        (SslMode::Disable | SslMode::Prefer, _) => config.dangerous().with_custom_certificate_verifier(lenient(ring, None)),
        // As libpq has it: who named an authority wants it asked.
        (SslMode::Require, Roots::System { asked: false }) => {
            config.dangerous().with_custom_certificate_verifier(lenient(ring, None))
        }
        (SslMode::Require | SslMode::VerifyCa, named) => {
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(authorities(named)?), Arc::clone(&ring));
            let inner = inner.build().map_err(|error| error.to_string())?;
            config.dangerous().with_custom_certificate_verifier(lenient(ring, Some(inner)))
        }
        (SslMode::VerifyFull, named) => config.with_root_certificates(authorities(named)?),
    };
    let config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let (chain, secret) = (certificates(cert, "sslcert=")?, secret_key(key, "sslkey=")?);
            config.with_client_auth_cert(chain, secret).map_err(|error| unreadable("sslkey=", key, &error))?
        }
        _ => config.with_no_client_auth(),
    };
    ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())
}

fn authorities(named: &Roots) -> Result<rustls::RootCertStore, String> {
    let file: Option<&Path> = match named {
        Roots::System { .. } => None,
        Roots::File(file) => Some(file),
    };
    roots(file, "sslrootcert=")
}

fn lenient(ring: Arc<CryptoProvider>, chain: Option<Arc<WebPkiServerVerifier>>) -> Arc<Lenient> {
    Arc::new(Lenient { ring, chain })
}

/// Looks at less than a certificate says, as `sslmode` allows: at its chain but not its name, or at nothing.
#[derive(Debug)]
struct Lenient {
    ring: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(leaf, between, name, ocsp, now) {
            // The name is looked at last, when all the rest holds.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            said => said,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.ring.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.ring.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.ring.signature_verification_algorithms.supported_schemes()
    }
}
