//! Until when a certificate can be used.

use jiff::Timestamp;
use x509_parser::{certificate::X509Certificate, error::X509Error, nom, prelude::FromDer};

/// When this certificate (DER) ends.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn end(certificate: &[u8]) -> Result<Timestamp, nom::Err<X509Error>> {
    let (_, certificate) = X509Certificate::from_der(certificate)?;
    let seconds = certificate.validity().not_after.timestamp();
    // Ends that lie beyond what a clock can show are never reached.
    Ok(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}
