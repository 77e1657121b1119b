//! A receiver's far end, scripted over a socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// Longer than anything takes that works.
const SOON: Duration = Duration::from_secs(30);

/// A message as it came.
#[derive(Debug)]
pub struct Got {
    head: Vec<String>,
    pub body: String,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The ids of the requests that it tells of.
    pub fn records(&self) -> Vec<String> {
        let json = self.json();
        let events = json["data"]["events"].as_array().unwrap();
        let ids = events.iter().map(|event| event["id"].as_str().unwrap());
        ids.map(str::to_owned).collect()
    }
}

/// What is answered to a message; nothing for a connection that is kept open without an answer.
type Script = dyn Fn(usize, &Got) -> Option<String> + Send + Sync;

/// The far end.
pub struct FarEnd {
    pub address: SocketAddr,
    got: Receiver<Got>,
}

impl FarEnd {
    /// Answers each message with what the script says of it and of its number, from 0.
    pub fn scripted(
        script: impl Fn(usize, &Got) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, got) = channel();
        let script: Arc<Script> = Arc::new(script);
        thread::spawn(move || {
            let number = Arc::new(AtomicUsize::new(0));
            for stream in listener.incoming() {
                let (stream, sender) = (stream.unwrap(), sender.clone());
                let (script, number) = (Arc::clone(&script), Arc::clone(&number));
                thread::spawn(move || serve(stream, &sender, &*script, &number));
            }
        });
        Self { address, got }
    }

    /// Answers with these statuses, one after the other, and the last one from then on.
    pub fn answering(statuses: &'static [&'static str]) -> Self {
        Self::scripted(|number, _| {
            let status = statuses.get(number).or(statuses.last());
            status.map(|status| answer(status, ""))
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook?token=s3cret", self.address)
    }

    /// The next message.
    #[track_caller]
    pub fn next(&self) -> Got {
        self.got.recv_timeout(SOON).expect("no message came")
    }

    /// Whether a message has come that was not asked for.
    pub fn has_next(&self) -> bool {
        self.got.try_recv().is_ok()
    }
}

/// An answer with a status, and further lines of its header.
pub fn answer(status: &str, head: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{head}content-length: 2\r\n\r\nok")
}

fn serve(stream: TcpStream, sender: &Sender<Got>, script: &Script, number: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(got) = read(&mut reader) {
        let number = number.fetch_add(1, Ordering::SeqCst);
        let answer = script(number, &got);
        // The test may have ended.
        let _ = sender.send(got);
        match answer {
            Some(answer) => (&stream).write_all(answer.as_bytes()).unwrap_or_default(),
            // Until the other side gives up.
            None => drop(reader.read(&mut [0])),
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Got> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        head.push(line.to_owned());
    }
    let mut got = Got {
        head,
        body: String::new(),
    };
    let length: usize = got.header("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    got.body = String::from_utf8(body).unwrap();
    Some(got)
}
