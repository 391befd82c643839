//! The recorder's own figures, in the text format of Prometheus: from its control socket, or from any recorder's metrics address.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

/// How long a recorder may take to tell.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any recorder has to say.
const BYTES_MAX: u64 = 64 << 20;

/// Where figures come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Tapehead's control socket.
    Control(PathBuf),
    /// `http://HOST:PORT/PATH`.
    Http(String),
}

/// Each metric's value, by its name with its labels.
pub type Figures = BTreeMap<String, f64>;

/// A metric at the start and at the end of a run.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Change {
    /// At the start; 0 if it was not there.
    pub before: f64,
    /// At the end.
    pub after: f64,
    /// The highest that was seen between.
    pub highest: f64,
}

impl Source {
    /// Asks for all of them.
    pub fn ask(&self) -> Result<Figures, String> {
        match self {
            Source::Control(path) => control(path).map_err(|why| format!("{}: {why}", path.display())),
            Source::Http(url) => http(url).map_err(|why| format!("{url}: {why}")),
        }
        .map(|text| parse(&text))
    }
}

/// How often a recorder is asked while a run goes on.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A recorder tells figures that are a little old, and files of calls that have ended take their time.
const SETTLE: Duration = Duration::from_secs(2);

/// Asks now and then, on a thread of its own, for what is only there while calls are: how busy the recorder is.
pub struct Watch {
    source: Source,
    before: Figures,
    stop: Sender<()>,
    thread: JoinHandle<Figures>,
}

impl Watch {
    /// Begins. Fails if the recorder does not tell.
    pub fn start(source: Source) -> Result<Watch, String> {
        let before = source.ask()?;
        let (stop, stopped) = channel();
        let (asked, mut highest) = (source.clone(), before.clone());
        let watch = move || {
            while stopped.recv_timeout(ASK_EVERY) == Err(RecvTimeoutError::Timeout) {
                // A recorder that is too busy to answer is asked again.
                raise(&mut highest, &asked.ask().unwrap_or_default());
            }
            highest
        };
        let thread = std::thread::Builder::new().name("figures".to_owned()).spawn(watch);
        Ok(Watch { source, before, stop, thread: thread.map_err(|why| why.to_string())? })
    }

    /// Ends, and says what has changed.
    pub fn finish(self) -> Result<BTreeMap<String, Change>, String> {
        drop(self.stop);
        let mut highest =
            self.thread.join().map_err(|_| "the thread that asks for figures has panicked: see above")?;
        std::thread::sleep(SETTLE);
        let after = self.source.ask()?;
        raise(&mut highest, &after);
        Ok(changes(&self.before, &after, &highest))
    }
}

fn raise(highest: &mut Figures, seen: &Figures) {
    for (name, value) in seen {
        let highest = highest.entry(name.clone()).or_insert(*value);
        *highest = highest.max(*value);
    }
}

/// What has changed, for good or for a while.
fn changes(before: &Figures, after: &Figures, highest: &Figures) -> BTreeMap<String, Change> {
    let change = |(name, highest): (&String, &f64)| {
        let of = |figures: &Figures| figures.get(name).copied().unwrap_or(0.0);
        let change = Change { before: of(before), after: of(after), highest: *highest };
        // What a recorder says of itself never changes.
        let moved = change.before != change.after || change.before != *highest || name.contains("_info{");
        moved.then(|| (name.clone(), change))
    };
    highest.iter().filter_map(change).collect()
}

fn parse(text: &str) -> Figures {
    let figure = |line: &str| {
        let (name, value) = line.trim_end().rsplit_once(' ')?;
        Some((name.trim_end().to_owned(), value.parse().ok()?))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(figure).collect()
}

fn control(path: &PathBuf) -> Result<String, String> {
    let say = |why: std::io::Error| why.to_string();
    let mut socket = UnixStream::connect(path).map_err(say)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(say)?;
    socket.write_all(b"{\"command\":\"metrics\"}\n").map_err(say)?;
    let mut line = String::new();
    BufReader::new(socket.take(BYTES_MAX)).read_line(&mut line).map_err(say)?;
    let answer: serde_json::Value =
        serde_json::from_str(&line).map_err(|why| format!("its answer: {why}"))?;
    match &answer["ok"] {
        serde_json::Value::String(text) => Ok(text.clone()),
        _ => Err(format!("it answers {}", line.trim_end())),
    }
}

fn http(url: &str) -> Result<String, String> {
    let say = |why: std::io::Error| why.to_string();
    let rest = url.strip_prefix("http://").ok_or("only http:// is read here")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let at = if host.contains(':') && !host.ends_with(']') { host.to_owned() } else { format!("{host}:80") };
    let at = at.to_socket_addrs().map_err(say)?.next().ok_or("there is no such host")?;
    let mut socket = TcpStream::connect_timeout(&at, PATIENCE).map_err(say)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(say)?;
    // 1.0: the answer comes in one piece and ends with the connection.
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\nAccept: text/plain\r\n\r\n");
    socket.write_all(request.as_bytes()).map_err(say)?;
    let mut answer = String::new();
    socket.take(BYTES_MAX).read_to_string(&mut answer).map_err(say)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("its answer is no HTTP")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(format!("it answers {}", head.lines().next().unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    const TEXT: &str = "# HELP a b\n# TYPE a counter\na 1\nb{shard=\"0\"} 2.5\nb{why=\"x y\"} 3\nodd\n";

    #[test]
    fn figures_are_read_with_their_labels_and_compared() {
        let before = parse(TEXT);
        assert_eq!(before.len(), 3);
        assert_eq!((before["b{shard=\"0\"}"], before["b{why=\"x y\"}"]), (2.5, 3.0));
        let after = parse(&TEXT.replace("a 1", "a 4\nc 1"));
        let mut highest = before.clone();
        raise(&mut highest, &parse("b{shard=\"0\"} 7\n"));
        raise(&mut highest, &after);
        let changes = changes(&before, &after, &highest);
        assert_eq!(changes.keys().collect::<Vec<_>>(), ["a", "b{shard=\"0\"}", "c"]);
        assert_eq!(changes["a"], Change { before: 1.0, after: 4.0, highest: 4.0 });
        assert_eq!(changes["b{shard=\"0\"}"], Change { before: 2.5, after: 2.5, highest: 7.0 });
    }

    #[test]
    fn they_come_by_http_or_from_a_control_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let control = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            for status in ["200 OK", "404 Not Found"] {
                let (mut socket, _) = listener.accept().unwrap();
                let mut asked = [0; 1000];
                let len = socket.read(&mut asked).unwrap();
                assert!(asked[..len].starts_with(b"GET /metrics HTTP/1.0\r\n"));
                write!(socket, "HTTP/1.0 {status}\r\n\r\n{TEXT}").unwrap();
            }
            let (mut socket, _) = control.accept().unwrap();
            let mut asked = String::new();
            BufReader::new(socket.try_clone().unwrap()).read_line(&mut asked).unwrap();
            assert_eq!(asked, "{\"command\":\"metrics\"}\n");
            writeln!(socket, "{}", serde_json::json!({ "ok": TEXT })).unwrap();
        });
        assert_eq!(Source::Http(url.clone()).ask().unwrap().len(), 3);
        assert!(Source::Http(url).ask().unwrap_err().contains("404"));
        assert_eq!(Source::Control(path).ask().unwrap(), parse(TEXT));
        server.join().unwrap();
        assert!(Source::Http("https://h".to_owned()).ask().unwrap_err().contains("http://"));
    }
}
