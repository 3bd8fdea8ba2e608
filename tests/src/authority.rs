//! An authority that certifies whoever a test needs, for peers that speak TLS (RFC 5280): their certificates as files for
//! the box and as configurations for peers of ours.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// It is gone, with its files, when dropped.
#[derive(Debug)]
pub struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// PEM files of one certificate.
#[derive(Debug, Clone)]
pub struct Certified {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub private_key: PathBuf,
}

impl Authority {
    /// One that nobody knows yet.
    ///
    /// # Panics
    /// When there is no folder for its files.
    pub fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(folder.path().join("authority.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { folder, issuer: Issuer::new(params, key) }
    }

    /// The file of its own certificate, for whoever is to believe it.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// A certificate for `name`, which is a host name or an address.
    ///
    /// # Panics
    /// When it is neither.
    pub fn certify(&self, name: &str) -> Certified {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let put = |kind: &str, text: String| {
            let path = self.folder.path().join(format!("{name}.{kind}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        Certified {
            certificate: put("certificate.pem", params.signed_by(&key, &self.issuer).unwrap().pem()),
            private_key: put("key.pem", key.serialize_pem()),
        }
    }

    /// For a listener that says to be `name`. TLS 1.2 and 1.3, as carriers have them.
    pub(crate) fn acceptor(&self, name: &str) -> TlsAcceptor {
        let Certified { certificate, private_key } = self.certify(name);
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(private_key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// For connections of whoever believes this authority and nobody else.
    ///
    /// # Panics
    /// When its file is gone.
    pub fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.certificate()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}
