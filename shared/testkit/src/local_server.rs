//! A real HTTP/1.1 server on this machine: one thread a connection, one request a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest body that is read.
const BODY_BYTES: usize = 16 * 1024 * 1024;

/// A request as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// `POST`
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Received {
    /// First value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What the server writes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    bytes: Vec<u8>,
    pause: Duration,
    rest: Vec<u8>,
}

impl Reply {
    /// An answer of JSON, or of any text.
    #[must_use]
    pub fn new(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut head = format!("HTTP/1.1 {status} Status\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !(100..200).contains(&status) && status != 204 && status != 304 {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("connection: close\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        Self::raw(bytes)
    }

    /// These bytes, whatever they are.
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            pause: Duration::ZERO,
            rest: Vec::new(),
        }
    }

    /// And more bytes after a while.
    #[must_use]
    pub fn then(mut self, pause: Duration, rest: impl Into<Vec<u8>>) -> Self {
        self.pause = pause;
        self.rest = rest.into();
        self
    }
}

type Handler = dyn Fn(&Received) -> Reply + Send + Sync;

/// The server; it ends when it is dropped.
pub struct LocalServer {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    over: Arc<AtomicBool>,
}

impl std::fmt::Debug for LocalServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl LocalServer {
    /// Starts on a free port of `127.0.0.1`.
    ///
    /// # Errors
    /// If there is none.
    pub fn start(
        handler: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let over = Arc::new(AtomicBool::new(false));
        let handler: Arc<Handler> = Arc::new(handler);
        let (log, end) = (Arc::clone(&received), Arc::clone(&over));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                // A client that goes away ends its own thread only.
                std::thread::spawn(move || answer(stream, &*handler, &log));
            }
        });
        Ok(Self {
            address,
            received,
            over,
        })
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// An address of this server under this host's name.
    #[must_use]
    pub fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.port())
    }

    /// What arrived, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; if that fails it ends with the process.
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream, handler: &Handler, log: &Mutex<Vec<Received>>) {
    let Some(request) = read(&stream) else {
        return;
    };
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(request.clone());
    let reply = handler(&request);
    // The client may have gone away: its own error is what the test looks at.
    if stream.write_all(&reply.bytes).is_err() || reply.rest.is_empty() {
        return;
    }
    let _ = stream.flush();
    std::thread::sleep(reply.pause);
    let _ = stream.write_all(&reply.rest);
}

fn read(stream: &TcpStream) -> Option<Received> {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let mut request = Received {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        ..Received::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        request
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = request
        .header("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0)
        .min(BODY_BYTES);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}
