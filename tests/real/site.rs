//! A web site on this host's loopback interface: the files of a directory.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

/// Serves a directory until the test ends, and gives the port.
pub(crate) fn serve(directory: &Path) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let directory = directory.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let directory = directory.clone();
            thread::spawn(move || answer(&stream.unwrap(), &directory));
        }
    });
    port
}

/// Answers one request and closes. A client that goes away early isn't this side's failure.
fn answer(mut stream: &TcpStream, directory: &Path) {
    let mut head = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(request) = head.next() else { return };
    head.take_while(|line| !line.is_empty()).for_each(drop);
    let (status, body) = match read(directory, &request) {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", Vec::new()),
    };
    let kind = if request.contains("/ HTTP") { "text/html" } else { "application/octet-stream" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).unwrap_or(());
}

/// The file that `GET /path?query HTTP/1.1` asks for; of a directory its `index.html`.
fn read(directory: &Path, request: &str) -> Option<Vec<u8>> {
    let path = request.strip_prefix("GET /")?.split([' ', '?']).next()?;
    let mut file: PathBuf = directory.join(path);
    if path.ends_with('/') {
        file.push("index.html");
    }
    fs::read(file).ok()
}
