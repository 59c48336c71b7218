//! Runs nginx as an origin: TLS, HTTP/2, on a free port, stopped when dropped.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

pub(crate) struct Nginx {
    child: Child,
    port: u16,
}

impl Nginx {
    /// Serves `root` with the certificate below `tls`.
    pub(crate) fn start(work: &Path, root: &Path, tls: &Path) -> anyhow::Result<Self> {
        let free = TcpListener::bind("127.0.0.1:0").context("looking for a free port")?;
        let port = free.local_addr().context("looking for a free port")?.port();
        drop(free);
        let dir = work.join("nginx");
        std::fs::create_dir_all(&dir).context("making a folder for nginx")?;
        let (dir_text, root, tls) = (dir.display(), root.display(), tls.display());
        let text = format!(
            "daemon off; worker_processes 2; pid {dir_text}/pid; error_log {dir_text}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000000;\n\
             client_body_temp_path {dir_text}/b; proxy_temp_path {dir_text}/p; fastcgi_temp_path {dir_text}/f;\n\
             uwsgi_temp_path {dir_text}/u; scgi_temp_path {dir_text}/s;\n\
             server {{ listen 127.0.0.1:{port} ssl http2; http2_max_concurrent_streams 128; root {root};\n\
             ssl_certificate {tls}/cert.pem; ssl_certificate_key {tls}/key.pem; }}\n}}\n"
        );
        let config = dir.join("nginx.conf");
        std::fs::write(&config, text).context("writing nginx.conf")?;
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&config)
            .arg("-e")
            .arg(dir.join("error.log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting nginx (Debian package nginx)")?;
        let mut nginx = Self { child, port };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if nginx.child.try_wait().context("asking for nginx")?.is_some()
                || began.elapsed() > Duration::from_secs(10)
            {
                let log = std::fs::read_to_string(dir.join("error.log")).unwrap_or_default();
                bail!("nginx did not start: {log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }

    pub(crate) fn base(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // TERM, so that the master process ends its workers, too.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
