//! Ethernet addresses.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An Ethernet (EUI-48) address. Its text is lower case with colons, as Neutron stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// A text that is not an Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a valid MAC address")]
pub struct InvalidMac(pub String);

impl Mac {
    /// The multicast (group) bit is set, so this cannot be the address of one interface.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The address SLAAC gives an interface with this MAC in the /64 that `prefix` lies in (RFC 4291, modified EUI-64).
    pub fn eui64(self, prefix: Ipv6Addr) -> Ipv6Addr {
        let m = self.0;
        let host = u64::from_be_bytes([m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]]);
        let network = u128::from(prefix) >> 64 << 64;
        Ipv6Addr::from(network | u128::from(host))
    }

    /// The MAC whose modified EUI-64 form is the interface identifier of `address`, if it has that form.
    pub fn from_eui64(address: Ipv6Addr) -> Option<Self> {
        let o = address.octets();
        (o[11] == 0xff && o[12] == 0xfe).then(|| Self([o[8] ^ 2, o[9], o[10], o[13], o[14], o[15]]))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = InvalidMac;

    /// Accepts six groups of one or two hex digits, parted by colons or dashes.
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let invalid = || InvalidMac(text.to_owned());
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().ok_or_else(invalid)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() { Err(invalid()) } else { Ok(Self(octets)) }
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_in_lower_case() {
        let mac: Mac = "FA:16:3e:00:0A:ff".parse().unwrap();
        assert_eq!(mac.to_string(), "fa:16:3e:00:0a:ff");
        assert_eq!("fa-16-3e-0-a-ff".parse(), Ok(mac));
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in
            ["", "fa:16:3e:00:0a", "fa:16:3e:00:0a:ff:00", "fa:16:3e:00:0a:fg", "fa:16:3e:00:0a:+f", "fa163e000aff"]
        {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn eui64_is_its_own_inverse() {
        let mac: Mac = "fa:16:3e:05:82:ac".parse().unwrap();
        let address = mac.eui64("2001:db8::".parse().unwrap());
        assert_eq!(address.to_string(), "2001:db8::f816:3eff:fe05:82ac");
        assert_eq!(Mac::from_eui64(address), Some(mac));
    }
}
