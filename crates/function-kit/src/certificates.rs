//! Where TLS finds the authorities that it trusts.

use std::env;

const FILE: &str = "SSL_CERT_FILE";
const DIRECTORY: &str = "SSL_CERT_DIR";

/// Names the system's file of authorities to every TLS client, unless the environment names a file or a directory.
///
/// Without a name rustls reads that file, and then the system's directories, which have the same authorities, each in a
/// file of its own: most of the CPU time of a start. Call it before the process has a second thread.
#[allow(unsafe_code)]
pub(crate) fn name_one_file() {
    if [FILE, DIRECTORY].iter().any(|name| env::var_os(name).is_some()) {
        return;
    }
    if let Some(file) = openssl_probe::probe().cert_file {
        // SAFETY: the process has one thread, so nothing reads the environment meanwhile.
        unsafe { env::set_var(FILE, file) };
    }
}
