use super::*;
use crate::platform::BoxFuture;
use std::net::IpAddr;

/// Every name is this host.
#[derive(Debug)]
struct Here;

impl Resolve for Here {
    fn resolve(&self, _name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) })
    }
}

fn shared(rules: &[String]) -> Arc<Shared> {
    let list = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let rules = watch::Sender::new(Arc::new(Rules::new(list)));
    let (ledger, pending, throttle) = (Ledger::default(), Pending::default(), Throttle::new(None));
    Arc::new(Shared { rules, ledger, pending, throttle, resolver: Box::new(Here) })
}

/// A client's connection to a proxy.
async fn client(shared: &Arc<Shared>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = shared.clone();
    let room = Arc::new(Semaphore::new(8));
    tokio::spawn(accept(listener, room, move |stream| serve(stream, shared.clone())));
    TcpStream::connect(address).await.unwrap()
}

/// A server that answers every connection's first bytes with `answer`, and hands over what it was sent until then.
async fn server(answer: &'static str) -> (u16, tokio::task::JoinHandle<(String, TcpStream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        bytes.truncate(count);
        stream.write_all(answer.as_bytes()).await.unwrap();
        (String::from_utf8(bytes).unwrap(), stream)
    });
    (port, heard)
}

/// Says something, and reads to the end of the answer.
async fn ask(shared: &Arc<Shared>, text: &str) -> String {
    let mut client = client(shared).await;
    client.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(5), client.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

fn named(name: &str, port: u16) -> [String; 2] {
    [format!("{name}:{port}"), format!("127.0.0.1:{port}")]
}

#[tokio::test(flavor = "current_thread")]
async fn a_second_request_on_a_connection_reaches_nobody() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi";
    let (port, heard) = server(answer).await;
    let shared = shared(&named("a.example", port));
    let text = format!(
        "GET http://a.example:{port}/ HTTP/1.1\r\nHost: evil\r\n\r\nGET http://b.example/ HTTP/1.1\r\n\r\n"
    );
    let mut client = client(&shared).await;
    client.write_all(text.as_bytes()).await.unwrap();
    let (request, stream) = heard.await.unwrap();
    drop(stream);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(
        request.starts_with("GET / HTTP/1.1\r\n") && !request.contains("b.example"),
        "{request}"
    );
    assert!(answer.ends_with("Connection: close\r\n\r\nhi"), "{answer}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_body_is_passed_on_as_long_as_it_is_said_to_be() {
    let (port, heard) =
        server("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").await;
    let shared = shared(&named("a.example", port));
    let text =
        format!("PUT http://a.example:{port}/x HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodySURPLUS");
    let mut client = client(&shared).await;
    client.write_all(text.as_bytes()).await.unwrap();
    let (mut request, mut stream) = heard.await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    drop(client);
    stream.read_to_string(&mut request).await.unwrap();
    assert!(request.ends_with("\r\n\r\nbody"), "{request}");
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204"), "{answer}");
}

#[tokio::test(flavor = "current_thread")]
async fn who_says_nonsense_is_told_or_let_go() {
    let shared = shared(&[]);
    assert!(ask(&shared, "GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    let long = format!("GET http://a/ HTTP/1.1\r\nA: {}\r\n", "x".repeat(http::LONGEST_HEAD));
    assert!(ask(&shared, &long).await.starts_with("HTTP/1.1 431 "));
    // An older SOCKS, TLS.
    assert_eq!(ask(&shared, "\u{4}\u{1}").await, "");
    assert_eq!(ask(&shared, "\u{16}\u{3}\u{1}").await, "");
    // A request that isn't one after a greeting, and a kind of address that there isn't.
    assert_eq!(ask(&shared, "\u{5}\u{1}\0\u{5}\u{1}\0\u{2}").await.as_bytes()[..4], [5, 0, 5, 8]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_change_of_rules_closes_what_they_forbid_and_nothing_else() {
    let (first, held_first) = server("1").await;
    let (second, held_second) = server("2").await;
    let both = [named("a.example", first), named("b.example", second)].concat();
    let shared = shared(&both);
    let mut clients = Vec::new();
    for (name, port) in [("a.example", first), ("b.example", second)] {
        let mut client = client(&shared).await;
        let asked = format!("CONNECT {name}:{port} HTTP/1.1\r\n\r\nx");
        client.write_all(asked.as_bytes()).await.unwrap();
        let mut bytes = vec![0; 39 + 1];
        client.read_exact(&mut bytes).await.unwrap();
        clients.push(client);
    }
    let (mut first, mut second) = (held_first.await.unwrap().1, held_second.await.unwrap().1);
    let kept = both[2..].iter().map(|rule| rule.parse().unwrap()).collect();
    shared.rules.send_replace(Arc::new(Rules::new(kept)));
    assert_eq!(first.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert_eq!(clients[0].read(&mut [0; 8]).await.unwrap_or(0), 0);
    second.write_all(b"more").await.unwrap();
    let mut bytes = [0; 4];
    clients[1].read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"more");
    let denials = shared.ledger.denials();
    assert_eq!(denials[0].why.as_deref(), Some("the rules were changed"));
    assert_eq!(denials.len(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn a_name_that_leads_to_this_host_is_refused_with_the_rule_that_would_allow_it() {
    let shared = shared(&["a.example:80".into()]);
    let answer = ask(&shared, "GET http://a.example/ HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("it leads to 127.0.0.1, a loopback address"), "{answer}");
    assert!(answer.contains("`network.allow = [\"127.0.0.1:80\"]` would allow it"), "{answer}");
    assert_eq!(shared.ledger.connections().denied, 1);
}
