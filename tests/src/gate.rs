//! A gate between the functions and the emulated DynamoDB: it sees every request before the table does, and can end
//! the function's process that made it, before the table hears of it or before the function hears the answer.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use gennaker_local::{FunctionProcess, LocalCloud};
use serde_json::Value;

/// How long a request waits for the cloud behind the gate.
const CLOUD_PATIENCE: Duration = Duration::from_secs(60);

/// A request of a function.
#[derive(Debug, Clone)]
pub struct Request {
    /// `UpdateItem`.
    pub operation: String,
    /// Its JSON.
    pub body: Value,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes through.
    Pass,
    /// The process is killed and the table never hears of it.
    KillBefore,
    /// The process is killed after the table did what was asked; where the table refused, the process lives.
    KillAfter,
}

/// Who decides.
pub trait Rule: Send + Sync {
    /// What becomes of a request.
    fn verdict(&self, request: &Request) -> Verdict;
    /// The process that made this request is dead.
    fn killed(&self, request: &Request);
}

/// A function's process that spoke to the table.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The process.
    pub process: FunctionProcess,
    /// Its last request.
    pub request: Request,
    /// When it made that.
    pub at: Instant,
}

/// The gate. It is open as long as this process lives.
#[derive(Clone)]
pub struct Gate {
    port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    rule: Arc<dyn Rule>,
    cloud: OnceLock<&'static LocalCloud>,
    visitors: Mutex<HashMap<u32, Visitor>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("port", &self.port).finish()
    }
}

/// A request or an answer: what stands before the empty line, with it, and what follows.
struct Message {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Gate {
    /// Opens a gate that leads nowhere yet: requests wait.
    #[must_use]
    pub fn open(rule: Arc<dyn Rule>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let gate = Self {
            port: listener.local_addr().unwrap().port(),
            inner: Arc::new(Inner {
                rule,
                cloud: OnceLock::new(),
                visitors: Mutex::default(),
            }),
        };
        let inner = Arc::clone(&gate.inner);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let inner = Arc::clone(&inner);
                std::thread::spawn(move || inner.serve(&connection));
            }
        });
        gate
    }

    /// What functions have to have in their environment to come through here.
    #[must_use]
    pub fn environment(&self) -> (&'static str, String) {
        (
            "AWS_ENDPOINT_URL_DYNAMODB",
            format!("http://127.0.0.1:{}", self.port),
        )
    }

    /// Lets the requests go on to this cloud.
    pub fn lead_to(&self, cloud: &'static LocalCloud) {
        assert!(
            self.inner.cloud.set(cloud).is_ok(),
            "a gate leads to one cloud"
        );
    }

    /// Kills one of the processes that made a request within the last moments: they are at work. None of them gets on
    /// with a request meanwhile. `choose` is shown them in order of their ids.
    pub fn kill_one(
        &self,
        within: Duration,
        choose: impl FnOnce(&[Visitor]) -> Option<Visitor>,
    ) -> Option<Visitor> {
        let visitors = self.inner.visitors();
        let mut found: Vec<Visitor> = visitors
            .values()
            .filter(|visitor| visitor.at.elapsed() < within)
            .cloned()
            .collect();
        found.sort_by_key(|visitor| visitor.process.pid);
        choose(&found).filter(|visitor| kill(&visitor.process))
    }
}

impl Inner {
    fn visitors(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Visitor>> {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection: whatever goes wrong with it, the SDK opens another one.
    fn serve(&self, connection: &TcpStream) {
        let began = now();
        while self.cloud.get().is_none() {
            if began.elapsed() > CLOUD_PATIENCE {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let Some(cloud) = self.cloud.get() else {
            return;
        };
        let process = process_behind(cloud, connection);
        let mut reader = BufReader::new(connection);
        while let Some(message) = read_message(&mut reader) {
            let request = Request {
                operation: header(&message.head, "x-amz-target")
                    .and_then(|target| target.rsplit('.').next().map(str::to_owned))
                    .unwrap_or_default(),
                body: serde_json::from_slice(&message.body).unwrap_or_default(),
            };
            if let Some(process) = &process {
                let visitor = Visitor {
                    process: process.clone(),
                    request: request.clone(),
                    at: now(),
                };
                self.visitors().insert(process.pid, visitor);
            }
            // Only functions come this way: one that is not found is dead already.
            let verdict = self.rule.verdict(&request);
            if verdict == Verdict::KillBefore {
                self.kill(&request, process.as_ref());
                return;
            }
            let Some(answer) = forward(cloud, &message) else {
                return;
            };
            if verdict == Verdict::KillAfter && answer.head.starts_with(b"HTTP/1.1 200") {
                self.kill(&request, process.as_ref());
                return;
            }
            let mut writer = connection;
            let sent = writer
                .write_all(&answer.head)
                .and_then(|()| writer.write_all(&answer.body));
            if sent.is_err() {
                return;
            }
        }
    }

    /// Ends the process, if it is not dead already, and waits until it is no more.
    fn kill(&self, request: &Request, process: Option<&FunctionProcess>) {
        if let Some(process) = process {
            self.visitors().remove(&process.pid);
            let _ = kill(process);
        }
        self.rule.killed(request);
    }
}

/// Ends a process with SIGKILL and waits until it runs no more. False if it was gone already.
fn kill(process: &FunctionProcess) -> bool {
    let killed = Command::new("kill")
        .args(["-KILL", &process.pid.to_string()])
        .output()
        .is_ok_and(|output| output.status.success());
    let stat = format!("/proc/{}/stat", process.pid);
    for _ in 0..500 {
        // Nobody may have collected it yet: then it is a zombie, which does nothing any more.
        let dead = std::fs::read_to_string(&stat).map_or(true, |stat| {
            stat.rsplit(") ")
                .next()
                .is_none_or(|rest| rest.starts_with(['Z', 'X']))
        });
        if dead {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    killed
}

#[allow(clippy::disallowed_methods)] // Who is at work is a question about time.
fn now() -> Instant {
    Instant::now()
}

impl Request {
    /// The execution in its keys: `EXEC#<id>`.
    #[must_use]
    pub fn execution(&self) -> Option<String> {
        execution_of(&self.body)
    }
}

fn execution_of(body: &Value) -> Option<String> {
    match body {
        Value::String(text) => text.strip_prefix("EXEC#").map(str::to_owned),
        Value::Array(list) => list.iter().find_map(execution_of),
        Value::Object(object) => object.values().find_map(execution_of),
        _ => None,
    }
}

/// The function's process at the other end of a connection.
fn process_behind(cloud: &LocalCloud, connection: &TcpStream) -> Option<FunctionProcess> {
    let (peer, own) = (connection.peer_addr().ok()?, connection.local_addr().ok()?);
    let socket = format!("socket:[{}]", inode_of(peer, own)?);
    cloud.function_processes().into_iter().find(|process| {
        std::fs::read_dir(format!("/proc/{}/fd", process.pid))
            .into_iter()
            .flatten()
            .flatten()
            .any(|descriptor| {
                std::fs::read_link(descriptor.path())
                    .is_ok_and(|link| link.as_os_str() == socket.as_str())
            })
    })
}

/// The inode of the socket that is bound to `peer` and connected to `own`, from `/proc/net/tcp`.
fn inode_of(peer: SocketAddr, own: SocketAddr) -> Option<String> {
    let hexadecimal = |address: SocketAddr| match address {
        SocketAddr::V4(address) => Some(format!(
            "{:08X}:{:04X}",
            u32::from_le_bytes(address.ip().octets()),
            address.port()
        )),
        SocketAddr::V6(_) => None,
    };
    let (peer, own) = (hexadecimal(peer)?, hexadecimal(own)?);
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let found = fields.next()? == peer && fields.next()? == own;
        found.then(|| fields.nth(6).map(str::to_owned)).flatten()
    })
}

/// Sends a request on to the cloud, on a connection of its own.
fn forward(cloud: &LocalCloud, message: &Message) -> Option<Message> {
    let address = cloud.endpoints().aws.strip_prefix("http://")?.to_owned();
    let mut upstream = TcpStream::connect(address).ok()?;
    upstream.write_all(&message.head).ok()?;
    upstream.write_all(&message.body).ok()?;
    read_message(&mut BufReader::new(&upstream))
}

fn header(head: &[u8], name: &str) -> Option<String> {
    String::from_utf8_lossy(head).lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}

fn read_message(reader: &mut impl BufRead) -> Option<Message> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head).ok()? == 0 {
            return None;
        }
    }
    let mut body = Vec::new();
    if let Some(length) = header(&head, "content-length") {
        reader
            .take(length.parse().ok()?)
            .read_to_end(&mut body)
            .ok()?;
    } else if header(&head, "transfer-encoding").is_some() {
        loop {
            let mut line = Vec::new();
            reader.read_until(b'\n', &mut line).ok()?;
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            let length = u64::from_str_radix(text.split(';').next()?, 16).ok()?;
            body.extend_from_slice(&line);
            // A chunk's own line end; after the last one there is nothing but it.
            reader.take(length + 2).read_to_end(&mut body).ok()?;
            if length == 0 {
                break;
            }
        }
    }
    Some(Message { head, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_its_head_says() {
        let bytes = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}GET";
        let message = read_message(&mut &bytes[..]).unwrap();
        assert_eq!(message.body, b"{}");
        let bytes = b"HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nmore";
        let message = read_message(&mut &bytes[..]).unwrap();
        assert_eq!(message.body, b"3\r\nabc\r\n0\r\n\r\n");
        assert!(read_message(&mut &b"POST"[..]).is_none());
    }

    #[test]
    fn an_execution_is_found_in_the_keys_of_a_request() {
        let body =
            serde_json::json!({ "Key": { "PK": { "S": "EXEC#01J" }, "SK": { "S": "META" } } });
        assert_eq!(execution_of(&body).as_deref(), Some("01J"));
        assert_eq!(execution_of(&serde_json::json!({ "Key": {} })), None);
    }
}
