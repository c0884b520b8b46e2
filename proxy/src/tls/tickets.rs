//! What sessions are resumed by: tickets under keys that may have to be given up.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;

/// Tickets hold a session's state themselves, so that workers share no memory of sessions.
#[derive(Debug)]
pub(super) struct Tickets(ArcSwap<Arc<dyn ProducesTickets>>);

impl Tickets {
    pub(super) fn new() -> Result<Self, rustls::Error> {
        Ok(Self(ArcSwap::from_pointee(Ticketer::new()?)))
    }

    /// Nobody resumes by what was given out so far.
    pub(super) fn renew(&self) {
        if let Ok(ticketer) = Ticketer::new() {
            self.0.store(Arc::new(ticketer));
        }
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.0.load().enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.load().lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.load().encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.load().decrypt(cipher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_until_keys_are_renewed() {
        let tickets = Tickets::new().unwrap();
        let ticket = tickets.encrypt(b"a session").unwrap();
        assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        tickets.renew();
        assert_eq!(tickets.decrypt(&ticket), None);
    }
}
