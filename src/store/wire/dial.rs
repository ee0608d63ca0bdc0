//! Sockets to a server, within a budget: names are looked up, addresses are tried one after the other.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use super::budget::Budget;

/// A host that is gone without a word is noticed after about this long, also where nothing is sent.
const SILENCE: Duration = Duration::from_secs(20);

/// Connects to a host by whichever of its addresses answers first, in their order.
pub fn host(host: &str, port: u16, budget: Budget) -> io::Result<Socket> {
    let found = resolve(host, port, budget)?;
    let mut last = io::Error::from(io::ErrorKind::HostUnreachable);
    for (tried, address) in found.iter().enumerate() {
        // An address that swallows everything must leave time for the next one.
        let share = budget.left()? / (found.len() - tried) as u32;
        match one(&SockAddr::from(*address), share) {
            Ok(socket) => {
                socket.set_tcp_nodelay(true)?;
                let keepalive = TcpKeepalive::new().with_time(SILENCE / 2).with_interval(SILENCE / 4).with_retries(2);
                socket.set_tcp_keepalive(&keepalive)?;
                #[cfg(target_os = "linux")]
                socket.set_tcp_user_timeout(Some(SILENCE))?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects to one address.
pub fn one(address: &SockAddr, within: Duration) -> io::Result<Socket> {
    let domain = address.domain();
    let protocol = (domain != Domain::UNIX).then_some(Protocol::TCP);
    let socket = Socket::new(domain, Type::STREAM, protocol)?;
    socket.connect_timeout(address, within)?;
    Ok(socket)
}

/// getaddrinfo(3) has no time-out, so a name is looked up aside and, when that takes too long, left to itself.
fn resolve(host: &str, port: u16, budget: Budget) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (tell, told) = mpsc::channel();
    let host = host.to_owned();
    std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody listens any more when it took too long.
        let _ = tell.send(found);
    })?;
    match told.recv_timeout(budget.left()?) {
        Ok(Ok(found)) if !found.is_empty() => Ok(found),
        Ok(_) => Err(io::Error::new(io::ErrorKind::NotFound, "unknown host")),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
