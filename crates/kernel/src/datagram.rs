//! One UDP datagram out of a namespace.

use std::{net::SocketAddr, net::UdpSocket};

use crate::{Error, Namespace, Result};

/// Sends a datagram from any port of the namespace. Whether it arrives is not known.
pub fn send(namespace: &Namespace, to: SocketAddr, payload: &[u8]) -> Result<()> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let sent = namespace.run(|| UdpSocket::bind(any)?.send_to(payload, to));
    sent?.map(drop).map_err(|error| Error::io("send to", to.to_string(), &error))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_datagram_arrives_whole() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        send(&Namespace::CURRENT, receiver.local_addr().unwrap(), b"hello").unwrap();
        let mut buffer = [0; 16];
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"hello");
    }
}
