//! How many connections there may be, in total and for one address.
//!
//! Nobody waits for a place: a connection that finds none is closed at once, so that a flood costs
//! no more than its accepting. A place is given back when its [`Slot`] is dropped.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The part of a version 6 address that tells subscribers apart.
const IPV6_NETWORK: u128 = u128::MAX << 64;

/// Why there was no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// As many connections as there may be.
    Total,
    /// As many as one address may have.
    Address,
}

/// The places of all connections.
#[derive(Debug, Default)]
pub struct Slots(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Slots {
    /// Takes a place.
    ///
    /// # Errors
    /// [`Full::Total`].
    pub fn take(self: &Arc<Self>, max: usize) -> Result<Slot, Full> {
        let mut table = self.table();
        if table.total >= max {
            return Err(Full::Total);
        }
        table.total += 1;
        Ok(Slot {
            slots: self.clone(),
            address: None,
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    address: Option<IpAddr>,
}

impl Slot {
    /// Counts the connection for an address, too; version 6 by /64. Once for each slot.
    ///
    /// # Errors
    /// [`Full::Address`].
    pub fn count_for(&mut self, address: IpAddr, max: usize) -> Result<(), Full> {
        let address = network(address);
        let mut table = self.slots.table();
        let count = table.by_address.entry(address).or_default();
        if *count >= max {
            return Err(Full::Address);
        }
        *count += 1;
        drop(table);
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.slots.table();
        table.total = table.total.saturating_sub(1);
        let Some(address) = self.address else { return };
        if let Entry::Occupied(mut entry) = table.by_address.entry(address) {
            *entry.get_mut() = entry.get().saturating_sub(1);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & IPV6_NETWORK)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let slots = Arc::new(Slots::default());
        let first = slots.take(2).unwrap();
        let second = slots.take(2).unwrap();
        assert_eq!(slots.take(2).unwrap_err(), Full::Total);
        drop(first);
        let third = slots.take(2).unwrap();
        assert_eq!(slots.take(2).unwrap_err(), Full::Total);
        drop((second, third));
        assert_eq!(slots.table().total, 0);
    }

    #[test]
    fn version_6_is_counted_by_its_network() {
        let slots = Arc::new(Slots::default());
        let mut held = Vec::new();
        let mut check = |address: &str, expected: Result<(), Full>| {
            let mut slot = slots.take(100).unwrap();
            let counted = slot.count_for(address.parse().unwrap(), 2);
            assert_eq!(counted, expected, "{address}");
            held.push(slot);
        };
        check("2001:db8::1", Ok(()));
        check("2001:db8::2", Ok(()));
        check("2001:db8:0:0:ffff::3", Err(Full::Address));
        check("2001:db8:0:1::1", Ok(()));
        check("192.0.2.1", Ok(()));
        check("::ffff:192.0.2.1", Ok(()));
        check("192.0.2.1", Err(Full::Address));
        check("192.0.2.2", Ok(()));
        drop(held);
        // Nothing is remembered of addresses that are gone.
        assert_eq!(slots.table().total, 0);
        assert!(slots.table().by_address.is_empty());
    }
}
