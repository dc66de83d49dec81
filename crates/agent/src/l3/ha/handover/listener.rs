//! What a host that waits makes of what it hears. Pure.

use std::collections::HashMap;

use kernel::conntrack::{Connection, Tuple};

use super::message::{Message, Record, Said};

/// What was heard so far.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// The session that is listened to, and the number that comes next.
    next: Option<(u64, u64)>,
    /// It is known that something is not known.
    complete: bool,
    /// All connections as they are being told: how many parts were heard, and what they said.
    whole: Option<(u32, HashMap<Tuple, Tuple>)>,
}

/// What is to be done about a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// What changed, in order.
    pub(super) records: Vec<Record>,
    /// All connections that there are, by both directions, if they have now been told.
    pub(super) all: Option<HashMap<Tuple, Tuple>>,
}

impl Listener {
    /// Whether whoever serves is to be asked for everything.
    pub(super) fn lacks(&self) -> bool {
        !self.complete
    }

    /// Takes a message. One that was heard before, or of a session before, is nothing. `most`: so many connections are
    /// remembered.
    pub(super) fn take(&mut self, message: Message, most: usize) -> Option<Heard> {
        let Message { session, number, said } = message;
        let follows = match self.next {
            Some((known, next)) if known == session && number < next => return None,
            known => known == Some((session, number)),
        };
        if let Said::Question = said {
            return None;
        }
        self.next = Some((session, number.wrapping_add(1)));
        if !follows {
            (self.complete, self.whole) = (false, None);
        }
        match said {
            Said::Changes(records) => Some(Heard { records, all: None }),
            Said::Whole { part, parts, records } => {
                let all = self.part(part, parts, &records, most);
                Some(Heard { records, all })
            }
            Said::Question => None,
        }
    }

    fn part(&mut self, part: u32, parts: u32, records: &[Record], most: usize) -> Option<HashMap<Tuple, Tuple>> {
        if part == 0 {
            self.whole = Some((0, HashMap::new()));
        }
        let (heard, all) = self.whole.as_mut().filter(|(heard, _)| *heard == part)?;
        *heard += 1;
        let now = records.iter().map(|record| (record.connection.original, record.connection.reply));
        all.extend(now);
        if all.len() > most {
            self.whole = None;
            return None;
        }
        if *heard < parts {
            return None;
        }
        self.complete = true;
        self.whole.take().map(|(_, all)| all)
    }

    /// It was found that what is here differs from what was told.
    pub(super) fn differs(&mut self) {
        self.complete = false;
    }
}

/// What is told of a connection: nothing of those that no failover would hurt.
pub(super) fn record(mut connection: Connection) -> Option<Record> {
    const TCP: u8 = 6;
    const ESTABLISHED: u8 = 3;
    const LAST_ACK: u8 = 6;
    let tuple = &connection.original;
    if tuple.source_port.is_none() || tuple.destination_port.is_none() || connection.zone != 0 {
        return None;
    }
    if tuple.protocol != TCP {
        return connection.is_answered.then_some(Record { gone: false, connection });
    }
    match connection.tcp_state {
        // Not every change says the state; who is established is assured.
        None if connection.is_assured => {
            connection.tcp_state = Some(ESTABLISHED);
            Some(Record { gone: false, connection })
        }
        Some(ESTABLISHED..=LAST_ACK) if connection.is_answered => Some(Record { gone: false, connection }),
        Some(state) if state > LAST_ACK => Some(Record { gone: true, connection }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l3::ha::handover::message::fit;

    fn connection(port: u16, state: Option<u8>) -> Connection {
        let tuple = |source: &str, from, destination: &str, to| Tuple {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: if state.is_some() { 6 } else { 17 },
            source_port: Some(from),
            destination_port: Some(to),
        };
        let (original, reply) =
            (tuple("10.0.0.5", port, "203.0.113.1", 80), tuple("203.0.113.1", 80, "203.0.113.10", 9));
        let mut connection = Connection::between(original, reply);
        (connection.is_answered, connection.is_assured) = (true, true);
        (connection.timeout, connection.mark, connection.tcp_state) = (300, 7, state);
        connection
    }

    fn records(count: u16) -> Vec<Record> {
        (0..count).filter_map(|port| record(connection(port, Some(3)))).collect()
    }

    fn message(number: u64, said: Said) -> Message {
        Message { session: 5, number, said }
    }

    #[test]
    fn a_datagram_is_read_as_it_was_written_by_who_has_the_key() {
        let mut all = records(50);
        all[1].gone = true;
        let count = fit(&all);
        assert!((20..50).contains(&count));
        let said = Said::Whole { part: 2, parts: 9, records: all[..count].to_vec() };
        let datagram = message(u64::MAX, said.clone()).encode(b"key");
        assert!(datagram.len() < 1250);
        assert_eq!(Message::decode(&datagram, b"key"), Some(message(u64::MAX, said)));
        assert_eq!(Message::decode(&datagram, b"another"), None);
        for place in 0..datagram.len() {
            let mut changed = datagram.clone();
            changed[place] ^= 1;
            assert_eq!(Message::decode(&changed, b"key"), None);
            assert_eq!(Message::decode(&datagram[..place], b"key"), None);
        }
    }

    #[test]
    fn what_was_missed_is_asked_for_and_what_was_heard_is_not_heard_again() {
        let mut listener = Listener::default();
        let part = |number, part| {
            let records = vec![records(3)[part as usize].clone()];
            message(number, Said::Whole { part, parts: 3, records })
        };
        // From the middle: it lacks something, but takes what it hears.
        assert_eq!(listener.take(part(7, 1), 9).unwrap().all, None);
        assert!(listener.lacks());
        for (number, index) in [(8, 0), (9, 1)] {
            assert_eq!(listener.take(part(number, index), 9).unwrap().all, None);
        }
        assert_eq!(listener.take(part(10, 2), 9).unwrap().all.unwrap().len(), 3);
        assert!(!listener.lacks());
        assert_eq!(listener.take(part(10, 2), 9), None);
        let change = |number| message(number, Said::Changes(records(2)));
        assert_eq!(listener.take(change(11), 9).unwrap().records, records(2));
        assert!(!listener.lacks());
        assert_eq!(listener.take(change(13), 9).unwrap().records, records(2));
        assert!(listener.lacks());
        // A part that is lost makes the whole worthless; so do more than there is room for.
        listener.take(part(14, 0), 9);
        assert_eq!(listener.take(part(16, 2), 9).unwrap().all, None);
        for (number, index) in [(17, 0), (18, 1), (19, 2)] {
            assert_eq!(listener.take(part(number, index), 2).unwrap().all, None);
        }
        assert!(listener.lacks());
        // Another host serves.
        let other = Message { session: 6, ..change(1) };
        assert_eq!(listener.take(other, 9).unwrap().records, records(2));
    }

    #[test]
    fn only_what_a_failover_would_hurt_is_told_of() {
        let gone = |state| record(connection(1, Some(state))).map(|record| record.gone);
        assert_eq!([1, 2, 3, 6, 7, 8].map(gone), [None, None, Some(false), Some(false), Some(true), Some(true)]);
        assert_eq!(record(connection(1, None)).map(|record| record.gone), Some(false));
        let (mut silent, mut elsewhere) = (connection(1, None), connection(1, None));
        (silent.is_answered, elsewhere.zone) = (false, 1);
        assert_eq!((record(silent), record(elsewhere)), (None, None));
    }
}
