//! Several certificates of a client for one registry: the server names the authorities whose certificates it takes (RFC 8446, 4.2.4),
//! and is shown one of theirs.

use std::error::Error;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};

use super::config::Trust;

/// How connections are protected that may show one of several certificates, to servers of the system's authorities and of the registry's own.
pub(super) fn configuration(trust: &Trust) -> Result<ClientConfig, Box<dyn Error + Send + Sync>> {
    super::transport::use_ring();
    let provider = rustls::crypto::ring::default_provider();
    let mut roots = RootCertStore::empty();
    // What the system has and this library cannot read is no authority.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for pem in &trust.authorities {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate?)?;
        }
    }
    let key = |pem: &Vec<u8>| {
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(CertifiedKey::from_der(chain, PrivateKeyDer::from_pem_slice(pem)?, &provider)?))
    };
    let keys = trust.identities.iter().map(key).collect::<Result<_, Box<dyn Error + Send + Sync>>>()?;
    let config = ClientConfig::builder().with_root_certificates(roots);
    Ok(config.with_client_cert_resolver(Arc::new(Several(keys))))
}

/// By name.
#[derive(Debug)]
struct Several(Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for Several {
    fn resolve(&self, authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let usable = || self.0.iter().filter(|key| key.key.choose_scheme(schemes).is_some());
        let is_of = |key: &&Arc<CertifiedKey>| {
            authorities.is_empty() || key.cert.iter().any(|one| authorities.iter().any(|name| names(one, name)))
        };
        // A server need not name all that it takes.
        usable().find(is_of).or_else(|| usable().next()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Whether a certificate has this name in it, its issuer's or its own: the same bytes in both (RFC 5280, 4.1.2.4).
fn names(certificate: &[u8], name: &[u8]) -> bool {
    !name.is_empty() && certificate.windows(name.len()).any(|part| part == name)
}
