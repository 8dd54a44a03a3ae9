//! The proofs of the handshake: pure, without a socket or a clock.
//!
//! Initiator and target share a ticket's secret and show each other that they do, without sending it:
//! each sends a keyed hash (HMAC-SHA-256) over everything that this one handshake is about. A label
//! per role keeps one side's proof from serving as the other's; two nonces, the connection's number and the
//! incarnation keep one handshake's from serving in another; the ticket's terms keep two sides that
//! mean different things from believing each other; the channel binding keeps whoever stands in the
//! middle of an encrypted connection from passing proofs on.
//!
//! What it is not: protection of what follows. Without TLS, whoever can change packets on their way can
//! change operations, too.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{ConnectionId, Rights, Ticket};

/// Bytes of a nonce, a proof and a channel binding.
pub const PROOF_BYTES: usize = 32;

/// Random bytes that a side uses in one handshake only.
pub type Nonce = [u8; PROOF_BYTES];

/// What ties a handshake to the encrypted connection it runs over: keying material that TLS exports. Zero
/// without encryption.
pub type ChannelBinding = [u8; PROOF_BYTES];

/// A keyed hash.
pub type Proof = [u8; PROOF_BYTES];

/// No encryption, nothing to bind to.
pub const UNBOUND: ChannelBinding = [0; PROOF_BYTES];

const UNIT_LABEL: [u8; 16] = *b"outlive unit    ";
const CLIENT_LABEL: [u8; 16] = *b"outlive client  ";
const REPLY_LABEL: [u8; 16] = *b"outlive reply   ";

/// Everything that one handshake is about, as one side sees it.
#[derive(Clone, Debug)]
pub struct Transcript<'a> {
    /// Version of the data protocol.
    pub version: u16,
    /// The ticket: id, terms, and the secret that keys the hashes.
    pub ticket: &'a Ticket,
    /// The initiator's nonce.
    pub client_nonce: Nonce,
    /// The target's nonce.
    pub unit_nonce: Nonce,
    /// The connection's number at the target.
    pub connection: ConnectionId,
    /// What TLS exports for this connection.
    pub binding: ChannelBinding,
}

impl Transcript<'_> {
    /// What the target shows, before the initiator shows anything.
    pub fn unit_proof(&self) -> Proof {
        finish(self.keyed(UNIT_LABEL))
    }

    /// What the initiator shows.
    pub fn client_proof(&self) -> Proof {
        finish(self.keyed(CLIENT_LABEL))
    }

    /// What the target's last word of the handshake, head and body, is sealed with.
    pub fn reply_proof(&self, parts: [&[u8]; 2]) -> Proof {
        finish(
            self.keyed(REPLY_LABEL)
                .chain_update(parts[0])
                .chain_update(parts[1]),
        )
    }

    /// Whether the target knows the secret and means the same. In constant time, as the two below.
    pub fn accepts_unit(&self, proof: &Proof) -> bool {
        self.keyed(UNIT_LABEL).verify_slice(proof).is_ok()
    }

    /// Whether the initiator knows the secret and means the same.
    pub fn accepts_client(&self, proof: &Proof) -> bool {
        self.keyed(CLIENT_LABEL).verify_slice(proof).is_ok()
    }

    /// Whether the target's last word is its own and whole.
    pub fn accepts_reply(&self, parts: [&[u8]; 2], proof: &Proof) -> bool {
        let keyed = self.keyed(REPLY_LABEL).chain_update(parts[0]);
        keyed.chain_update(parts[1]).verify_slice(proof).is_ok()
    }

    /// Every field of fixed length, the identity behind its length: no two transcripts hash the same bytes.
    fn keyed(&self, label: [u8; 16]) -> Hmac<Sha256> {
        let Ticket { id, secret, terms } = self.ticket;
        let rights = match terms.rights {
            Rights::Read => 1u8,
            Rights::ReadWrite => 2,
        };
        Hmac::<Sha256>::new_from_slice(secret.as_bytes())
            .expect("HMAC takes keys of any length")
            .chain_update(label)
            .chain_update(self.version.to_le_bytes())
            .chain_update(id.0)
            .chain_update(self.client_nonce)
            .chain_update(self.unit_nonce)
            .chain_update(self.connection.0.to_le_bytes())
            .chain_update(terms.incarnation.to_le_bytes())
            .chain_update(terms.region.0)
            .chain_update(terms.generation.to_le_bytes())
            .chain_update([rights])
            .chain_update((terms.identity.len() as u64).to_le_bytes())
            .chain_update(&terms.identity)
            .chain_update(self.binding)
    }
}

fn finish(keyed: Hmac<Sha256>) -> Proof {
    keyed.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{RegionId, Terms, TicketId, TicketSecret};

    fn ticket() -> Ticket {
        Ticket {
            id: TicketId([0x11; 16]),
            secret: TicketSecret::new([0x22; 32]),
            terms: Terms {
                identity: "shop/primary".into(),
                region: RegionId([0x33; 16]),
                generation: 0x44,
                rights: Rights::ReadWrite,
                incarnation: 0x55,
            },
        }
    }

    fn transcript(ticket: &Ticket) -> Transcript<'_> {
        Transcript {
            version: 2,
            ticket,
            client_nonce: [0x66; 32],
            unit_nonce: [0x77; 32],
            connection: ConnectionId(0x88),
            binding: UNBOUND,
        }
    }

    fn hex(proof: Proof) -> String {
        proof.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Computed apart from this code, with Python's `hmac` over the bytes that `docs/protocol.md` lists.
    #[test]
    fn proofs_are_what_the_protocol_says() {
        let ticket = ticket();
        let transcript = transcript(&ticket);
        assert_eq!(
            hex(transcript.unit_proof()),
            "022e2186b3f4392c6d7af6522ae76e8391d27f3a855bf6c176b1f1aa3067016f"
        );
        assert_eq!(
            hex(transcript.client_proof()),
            "548fc80339886b06c96fabdbe5b7628f91c1832f1fc860aa85baec38f42bfba2"
        );
        assert_eq!(
            hex(transcript.reply_proof([b"head", b"body"])),
            "1f5272cf231c067c8bd4af3ddeb9ae22944b525d4e58d1fd9600a920929d208d"
        );
    }

    #[test]
    fn one_role_does_not_serve_as_another() {
        let ticket = ticket();
        let transcript = transcript(&ticket);
        let (unit, client) = (transcript.unit_proof(), transcript.client_proof());
        let reply = transcript.reply_proof([b"", b""]);
        assert!(transcript.accepts_unit(&unit) && transcript.accepts_client(&client));
        assert!(!transcript.accepts_client(&unit) && !transcript.accepts_unit(&client));
        assert!(!transcript.accepts_client(&reply) && !transcript.accepts_unit(&reply));
        assert!(transcript.accepts_reply([b"head", b"body"], &transcript.reply_proof([b"head", b"body"])));
        assert!(!transcript.accepts_reply([b"head", b"bodY"], &transcript.reply_proof([b"head", b"body"])));
    }

    /// Changes the field that `which` names, so that it differs for sure.
    fn changed(which: usize, by: u8) -> [Proof; 3] {
        let mut other = ticket();
        let (at, flip) = (usize::from(by % 16), by | 1);
        match which {
            0 => other.id.0[at] ^= flip,
            1 => other.terms.identity.push(char::from(b'a' + by % 26)),
            2 => other.terms.identity.truncate(at.min(11)),
            3 => other.terms.region.0[at] ^= flip,
            4 => other.terms.generation ^= u64::from(flip),
            5 => other.terms.rights = Rights::Read,
            6 => other.terms.incarnation ^= u64::from(flip),
            7 => {
                let mut secret = *other.secret.as_bytes();
                secret[at * 2] ^= flip;
                other.secret = TicketSecret::new(secret);
            }
            _ => {}
        }
        let mut transcript = transcript(&other);
        match which {
            8 => transcript.version ^= u16::from(flip),
            9 => transcript.client_nonce[at * 2] ^= flip,
            10 => transcript.unit_nonce[at * 2] ^= flip,
            11 => transcript.connection.0 ^= u64::from(flip),
            12 => transcript.binding[at * 2] ^= flip,
            _ => {}
        }
        [
            transcript.unit_proof(),
            transcript.client_proof(),
            transcript.reply_proof([b"head", b"body"]),
        ]
    }

    proptest! {
        #[test]
        fn each_field_changes_each_proof(which in 0..13usize, by in any::<u8>()) {
            let ticket = ticket();
            let right = transcript(&ticket);
            let [unit, client, reply] = changed(which, by);
            prop_assert!(!right.accepts_unit(&unit), "field {}", which);
            prop_assert!(!right.accepts_client(&client), "field {}", which);
            prop_assert!(!right.accepts_reply([b"head", b"body"], &reply), "field {}", which);
        }

        /// What stands behind the identity cannot be taken for a part of it.
        #[test]
        fn identities_of_different_lengths_do_not_collide(
            identity in "[a-z]{0,40}", more in prop::collection::vec(0..128u8, 1..40), binding in any::<[u8; 32]>(),
        ) {
            let mut ticket = ticket();
            ticket.terms.identity = identity;
            let mut short = transcript(&ticket);
            short.binding = binding;
            let proof = short.client_proof();
            let mut longer = ticket.clone();
            longer.terms.identity.extend(more.iter().copied().map(char::from));
            // The same bytes side by side, as far as they go.
            let mut side_by_side = more.clone();
            side_by_side.extend(binding);
            for bytes in [&binding[..], &side_by_side[..32]] {
                let mut other = transcript(&longer);
                other.binding.copy_from_slice(bytes);
                prop_assert!(!other.accepts_client(&proof));
            }
        }
    }

    #[test]
    fn without_a_change_the_proofs_are_the_same() {
        let ticket = ticket();
        let right = transcript(&ticket);
        let [unit, client, reply] = changed(99, 1);
        assert!(right.accepts_unit(&unit) && right.accepts_client(&client));
        assert!(right.accepts_reply([b"head", b"body"], &reply));
    }
}
