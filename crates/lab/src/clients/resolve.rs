//! Asking for the addresses again whenever they are as old as they may be.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{ClientsConfig, Shared};

/// How long an answer may take before it is asked for again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps what is chosen from as fresh as the answers' TTL wants. While nobody answers, the old addresses stay.
pub(super) async fn keep(config: &ClientsConfig, shared: &Shared) {
    loop {
        match timeout(PATIENCE, ask(config.dns, &config.name)).await {
            Ok(Ok((addresses, ttl))) => {
                shared.state().addresses = addresses;
                tokio::time::sleep(ttl).await;
            }
            Ok(Err(_)) => tokio::time::sleep(PATIENCE).await,
            Err(_) => {}
        }
    }
}

async fn ask(server: SocketAddr, name: &str) -> io::Result<(Vec<IpAddr>, Duration)> {
    let mut query = Message::query();
    let name = Name::from_ascii(name).map_err(io::Error::other)?;
    query.add_query(Query::query(name, RecordType::A));
    query.metadata.recursion_desired = true;
    // Another port for each question: a late answer finds nobody. Only the server asked is listened to.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(server).await?;
    socket.send(&query.to_vec().map_err(io::Error::other)?).await?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).await?;
    let answer = Message::from_vec(&buffer[..length]).map_err(io::Error::other)?;
    let of_record = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        _ => None,
    };
    let mut addresses: Vec<IpAddr> = answer.answers.iter().filter_map(|record| of_record(&record.data)).collect();
    // Servers take turns with the order, and chance must not.
    addresses.sort_unstable();
    let ttl = answer.answers.iter().map(|record| record.ttl).min().unwrap_or_default().max(1);
    Ok((addresses, Duration::from_secs(ttl.into())))
}
