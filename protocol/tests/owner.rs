//! An owner's tools: recovery words, consent, and the invitation of a machine by a short code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use proptest::prelude::*;
use rp_protocol::key::{PublicKey, SecretKey, Signature};
use rp_protocol::membership::{Member, Membership};
use rp_protocol::owner::*;

fn owner() -> SecretKey {
    SecretKey::from_seed(&[0x51; 32])
}

fn machine() -> SecretKey {
    SecretKey::from_seed(&[0x61; 32])
}

mod words {
    use super::*;

    /// Of the standard's own vectors: 32 bytes of zero and of 0x7f.
    const VECTORS: [(u8, &str); 2] = [
        (
            0,
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
             abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
             abandon abandon abandon art",
        ),
        (
            0x7f,
            "legal winner thank year wave sausage worth useful legal winner thank year wave \
             sausage worth useful legal winner thank year wave sausage worth title",
        ),
    ];

    #[test]
    fn a_seed_has_the_words_of_the_standard() {
        for (byte, words) in VECTORS {
            let owner = SecretKey::from_seed(&[byte; 32]);
            assert_eq!(words_of_owner(&owner).as_str(), words);
            assert_eq!(owner_from_words(words).unwrap().public(), owner.public());
        }
    }

    #[test]
    fn typed_words_may_be_short_and_have_any_case_and_spacing() {
        let typed = "  LEGA Winn\tthan\nyear wave saus wort usef lega winn than year wave saus \
            wort usef lega winn than year wave saus wort Title ";
        let owner = owner_from_words(typed).unwrap();
        assert_eq!(owner.seed(), &[0x7f; 32]);
    }

    #[test]
    fn a_typing_error_is_told_by_its_place_and_never_repeated() {
        let words = VECTORS[1].1;
        for (typed, error) in [
            (String::new(), WordsError::Count(0)),
            (words.replace(" title", ""), WordsError::Count(23)),
            (format!("{words} legal"), WordsError::Count(25)),
            (words.replacen("thank", "thankful", 1), WordsError::Unknown(3)),
            (words.replacen("year", "yea", 1), WordsError::Unknown(4)),
            (words.replacen("legal winner", "winner legal", 1), WordsError::Checksum),
            (words.replace("title", "useful"), WordsError::Checksum),
        ] {
            let refused = owner_from_words(&typed).unwrap_err();
            assert_eq!(refused, error);
            assert!(!refused.to_string().contains("thankful"));
        }
    }

    proptest! {
        #[test]
        fn every_owner_key_comes_back_from_its_words(seed: [u8; 32]) {
            let owner = SecretKey::from_seed(&seed);
            let back = owner_from_words(&words_of_owner(&owner)).unwrap();
            prop_assert_eq!(back.seed(), &seed);
        }

        #[test]
        fn no_text_makes_the_readers_panic(text: String) {
            let _ = owner_from_words(&text);
            let _ = text.parse::<Code>();
        }
    }
}

mod codes {
    use super::*;

    #[test]
    fn a_code_is_four_words_that_may_be_typed_freely() {
        let code = Code::from_random([0, 0, 0, 1, 0x07, 0xff, 0xff, 0xfe]);
        assert_eq!(code.to_string(), "abandon-ability-zoo-zone");
        for typed in ["abandon-ability-zoo-zone", " ABAN abil  zoo - ZONE\n"] {
            assert_eq!(typed.parse(), Ok(code.clone()));
        }
        for (typed, error) in [
            ("", CodeError::Count(0)),
            ("abandon-ability-zoo", CodeError::Count(3)),
            ("abandon-ability-zoo-zone-zone", CodeError::Count(5)),
            ("abandon-able-zoo-zonk", CodeError::Unknown(4)),
            ("aba-able-zoo-zone", CodeError::Unknown(1)),
        ] {
            assert_eq!(typed.parse::<Code>(), Err(error), "{typed}");
        }
    }

    #[test]
    fn the_meeting_place_depends_on_the_first_two_words_only() {
        let place = |random| Code::from_random(random).rendezvous().public();
        let here = place([0, 1, 0, 2, 0, 3, 0, 4]);
        assert_eq!(here, place([0, 1, 0, 2, 7, 7, 7, 7]));
        assert_ne!(here, place([0, 1, 0, 3, 0, 3, 0, 4]));
        assert_ne!(here, place([0, 2, 0, 1, 0, 3, 0, 4]));
    }

    #[test]
    fn debug_output_does_not_show_the_code() {
        assert_eq!(format!("{:?}", Code::from_random([7; 8])), "Code(..)");
    }

    proptest! {
        #[test]
        fn every_code_is_read_back(random: [u8; 8]) {
            let code = Code::from_random(random);
            prop_assert_eq!(code.to_string().parse(), Ok(code));
        }
    }
}

mod consents {
    use super::*;

    #[test]
    fn a_consent_is_read_back_and_holds_for_one_owner_one_machine_and_one_time() {
        let consent = Consent::give(&machine(), owner().public(), 17);
        assert_eq!(Consent::parse(&consent.to_json()), Ok(consent.clone()));
        let (owner, machine) = (*consent.owner(), *consent.machine());
        let signature = *consent.signature();
        let other = SecretKey::from_seed(&[9; 32]).public();
        assert!(Consent::verify(owner, machine, 17, signature).is_ok());
        assert!(Consent::verify(other, machine, 17, signature).is_err());
        assert!(Consent::verify(owner, other, 17, signature).is_err());
        assert!(Consent::verify(owner, machine, 18, signature).is_err());
        assert!(Consent::verify(machine, owner, 17, signature).is_err());
        for wrong in ["", "{}", "null", &consent.to_json().replace("17", "18")] {
            assert!(Consent::parse(wrong).is_err());
        }
    }

    #[test]
    fn a_listed_machine_is_talked_to_only_if_it_consents_to_that_owner() {
        let listing = |owner: &SecretKey, machines: &[PublicKey]| Membership {
            version: 1,
            issued_at: 1,
            owner: owner.public(),
            members: machines
                .iter()
                .map(|key| Member {
                    key: *key,
                    relay_url: String::new(),
                    paired_at: String::new(),
                    nickname: None,
                })
                .collect(),
        };
        let (machine, stranger) = (machine(), SecretKey::from_seed(&[9; 32]));
        let ours = listing(&owner(), &[machine.public()]);
        let theirs = listing(&stranger, &[machine.public()]);
        let consent = Consent::give(&machine, owner().public(), 17);
        assert!(consent.holds_for(&machine.public(), [&theirs, &ours]));
        assert!(!consent.holds_for(&machine.public(), [&theirs]), "any owner can list any machine");
        assert!(!consent.holds_for(&stranger.public(), [&ours]), "it is another machine's");
        assert!(!consent.holds_for(&machine.public(), [&listing(&owner(), &[])]), "it was removed");
    }
}

fn code() -> Code {
    Code::from_random([1, 2, 3, 4, 5, 6, 7, 8])
}

/// Same meeting place, other secret.
fn wrong_code() -> Code {
    Code::from_random([1, 2, 3, 4, 5, 6, 7, 9])
}

/// Two machines with nothing between them.
struct Pair {
    inviter: Inviter,
    joiner: Joiner,
}

impl Pair {
    fn new(joiners_code: &Code) -> Self {
        Pair {
            inviter: Inviter::new(&code(), [1; 32], 0),
            joiner: Joiner::new(joiners_code, [2; 32], 0),
        }
    }

    fn invite(&mut self, message: &[u8]) -> Step<InviterEvent> {
        self.inviter.receive(message, &owner(), 1)
    }

    fn join(&mut self, message: &[u8]) -> Step<JoinerEvent> {
        self.joiner.receive(message, &machine(), "workshop", 1)
    }

    fn hello(&self) -> Vec<u8> {
        self.joiner.last_message().to_vec()
    }

    /// Up to the comparison of the words, with the messages so far.
    fn meet(&mut self) -> (CheckWords, CheckWords, Vec<Vec<u8>>) {
        let hello = self.hello();
        let answer = self.invite(&hello).send.unwrap();
        let request = self.join(&answer).send.unwrap();
        let step = self.invite(&request);
        let Some(InviterEvent::Compare { machine: who, name, words }) = step.event else {
            panic!("{:?}", step.event);
        };
        assert_eq!((who, name.as_str()), (machine().public(), "workshop"));
        let offer = step.send.unwrap();
        let Some(JoinerEvent::Compare { owner: whose, words: there }) = self.join(&offer).event
        else {
            panic!("no comparison");
        };
        assert_eq!(whose, owner().public());
        (words, there, vec![hello, answer, request, offer])
    }
}

mod invitations {
    use super::*;

    #[test]
    fn a_machine_joins_with_the_right_code() {
        let mut pair = Pair::new(&code());
        let (here, there, _) = pair.meet();
        assert_eq!(here.to_string(), there.to_string());
        assert_eq!(here.to_string().split(' ').count(), 3);
        let (consent, message) = pair.joiner.consent(&machine(), 99).unwrap();
        assert_eq!(pair.invite(&message).event, Some(InviterEvent::Consented(consent)));
        let welcome = pair.inviter.welcome(5).unwrap();
        assert_eq!(
            pair.join(&welcome).event,
            Some(JoinerEvent::Joined { owner: owner().public(), version: 5 })
        );
    }

    #[test]
    fn a_wrong_code_is_noticed_by_both_and_the_code_is_dead() {
        let mut pair = Pair::new(&wrong_code());
        let answer = pair.invite(&pair.hello()).send.unwrap();
        let request = pair.join(&answer).send.unwrap();
        let step = pair.invite(&request);
        assert_eq!(step.event, Some(InviterEvent::Failed(Failure::WrongCode)));
        assert_eq!(
            pair.join(&step.send.unwrap()).event,
            Some(JoinerEvent::Failed(Failure::WrongCode))
        );
        // Now with the right one.
        let mut second = Joiner::new(&code(), [3; 32], 0);
        let refused = pair.invite(second.last_message());
        assert_eq!(refused.event, None);
        let step = second.receive(&refused.send.unwrap(), &machine(), "", 1);
        assert_eq!(step.event, Some(JoinerEvent::Failed(Failure::Used)));
    }

    #[test]
    fn one_code_is_for_one_machine_and_a_second_does_not_disturb_the_first() {
        let mut pair = Pair::new(&code());
        let answer = pair.invite(&pair.hello()).send.unwrap();
        let intruder = Joiner::new(&code(), [3; 32], 0);
        let step = pair.invite(intruder.last_message());
        assert_eq!(step.event, None);
        assert_eq!(step.send.unwrap()[1], 9, "it is told that the code is used");
        let request = pair.join(&answer).send.unwrap();
        assert!(matches!(pair.invite(&request).event, Some(InviterEvent::Compare { .. })));
    }

    #[test]
    fn an_expired_code_is_refused_on_either_side() {
        let late = INVITATION_LIFETIME_MS;
        let mut pair = Pair::new(&code());
        assert_eq!(pair.inviter.expires_ms(), late);
        let step = pair.inviter.receive(pair.joiner.last_message(), &owner(), late);
        assert_eq!(step.event, Some(InviterEvent::Failed(Failure::Expired)));
        let event = pair.join(&step.send.unwrap()).event;
        assert_eq!(event, Some(JoinerEvent::Failed(Failure::Expired)));

        let mut pair = Pair::new(&code());
        let answer = pair.invite(&pair.hello()).send.unwrap();
        let request = pair.join(&answer).send.unwrap();
        let step = pair.inviter.receive(&request, &owner(), late);
        assert_eq!(step.event, Some(InviterEvent::Failed(Failure::Expired)));

        let mut pair = Pair::new(&code());
        let answer = pair.invite(&pair.hello()).send.unwrap();
        let step = pair.joiner.receive(&answer, &machine(), "", late);
        assert_eq!(step.event, Some(JoinerEvent::Failed(Failure::Expired)));
    }

    #[test]
    fn comparing_words_may_take_longer_than_a_code_lives() {
        let mut pair = Pair::new(&code());
        pair.meet();
        let (_, message) = pair.joiner.consent(&machine(), 99).unwrap();
        let step = pair.inviter.receive(&message, &owner(), INVITATION_LIFETIME_MS * 9);
        assert!(matches!(step.event, Some(InviterEvent::Consented(_))));
    }

    #[test]
    fn either_person_can_refuse_and_the_other_side_is_told() {
        let mut pair = Pair::new(&code());
        pair.meet();
        let refusal = pair.inviter.refuse().unwrap();
        assert_eq!(pair.join(&refusal).event, Some(JoinerEvent::Failed(Failure::Refused)));
        assert_eq!(pair.joiner.consent(&machine(), 1), None);

        let mut pair = Pair::new(&code());
        pair.meet();
        let refusal = pair.joiner.refuse().unwrap();
        assert_eq!(pair.invite(&refusal).event, Some(InviterEvent::Failed(Failure::Refused)));
        assert_eq!(pair.inviter.welcome(1), None);

        let mut pair = Pair::new(&code());
        pair.meet();
        let (_, message) = pair.joiner.consent(&machine(), 1).unwrap();
        pair.invite(&message);
        let refusal = pair.inviter.refuse().unwrap();
        assert_eq!(pair.join(&refusal).event, Some(JoinerEvent::Failed(Failure::Refused)));
        assert_eq!(pair.inviter.welcome(1), None);
    }

    #[test]
    fn nobody_is_welcome_who_has_not_consented() {
        let mut pair = Pair::new(&code());
        assert_eq!(pair.inviter.welcome(1), None);
        pair.meet();
        assert_eq!(pair.inviter.welcome(1), None);
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let mut pair = Pair::new(&code());
        let answer = pair.invite(&pair.hello()).send.unwrap();
        let long = format!("x{}", "é".repeat(MAX_MACHINE_NAME_BYTES));
        let request = pair.joiner.receive(&answer, &machine(), &long, 1).send.unwrap();
        let Some(InviterEvent::Compare { name, .. }) = pair.invite(&request).event else {
            panic!("no comparison");
        };
        assert_eq!(name.len(), MAX_MACHINE_NAME_BYTES - 1);
    }
}

mod in_between {
    use super::*;

    #[test]
    fn a_relay_sees_no_key_no_name_and_no_word_of_the_secret() {
        let mut pair = Pair::new(&code());
        let (_, _, mut seen) = pair.meet();
        seen.push(pair.joiner.consent(&machine(), 99).unwrap().1);
        pair.invite(&seen[4].clone());
        seen.push(pair.inviter.welcome(5).unwrap());
        let secrets = [
            b"workshop".to_vec(),
            machine().public().as_bytes().to_vec(),
            machine().public().to_string().into_bytes(),
            owner().public().as_bytes().to_vec(),
            owner().public().to_string().into_bytes(),
            vec![5, 6, 7, 8],
        ];
        for message in &seen {
            assert!(message.len() <= MAX_INVITATION_BYTES);
            for secret in &secrets {
                assert!(!message.windows(secret.len()).any(|window| window == secret));
            }
        }
    }

    #[test]
    fn a_relay_that_plays_both_sides_gets_one_guess_at_each_and_both_codes_die() {
        let mut pair = Pair::new(&code());
        // It does not know the secret half, so it takes another.
        let mut its_joiner = Joiner::new(&wrong_code(), [7; 32], 0);
        let mut its_inviter = Inviter::new(&wrong_code(), [8; 32], 0);
        let thief = SecretKey::from_seed(&[0x66; 32]);

        let answer = pair.invite(its_joiner.last_message()).send.unwrap();
        let request = its_joiner.receive(&answer, &thief, "workshop", 1).send.unwrap();
        let step = pair.invite(&request);
        assert_eq!(step.event, Some(InviterEvent::Failed(Failure::WrongCode)));

        let answer = its_inviter.receive(&pair.hello(), &thief, 1).send.unwrap();
        let request = pair.join(&answer).send.unwrap();
        let step = its_inviter.receive(&request, &thief, 1);
        assert_eq!(step.event, Some(InviterEvent::Failed(Failure::WrongCode)));
        // It cannot make an offer that this side would open; whatever it sends ends it.
        let forged = [vec![1, 4], vec![0; 200]].concat();
        assert_eq!(pair.join(&forged).event, Some(JoinerEvent::Failed(Failure::WrongCode)));

        // A second guess on either side finds it over.
        let again = Joiner::new(&code(), [9; 32], 0);
        assert_eq!(pair.invite(again.last_message()).event, None);
        assert_eq!(pair.join(&answer), Step { send: None, event: None });
    }

    #[test]
    fn changing_one_bit_of_any_message_never_leads_to_a_machine_joining_unnoticed() {
        let mut pair = Pair::new(&code());
        let (_, _, genuine) = pair.meet();
        for (number, message) in genuine.iter().enumerate() {
            for at in [0, 1, 2, message.len() / 2, message.len() - 1] {
                let mut pair = Pair::new(&code());
                let mut changed = message.clone();
                changed[at] ^= 4;
                let mut deliver = vec![pair.hello()];
                let mut joined = false;
                for step in 0..4 {
                    let next = if step == number { changed.clone() } else { deliver[step].clone() };
                    let (sent, compares) = if step % 2 == 0 {
                        let step = pair.invite(&next);
                        (step.send, matches!(step.event, Some(InviterEvent::Compare { .. })))
                    } else {
                        let step = pair.join(&next);
                        (step.send, matches!(step.event, Some(JoinerEvent::Compare { .. })))
                    };
                    joined = step == 3 && compares;
                    match sent {
                        Some(sent) => deliver.push(sent),
                        None => break,
                    }
                }
                assert!(!joined, "message {number}, byte {at}");
            }
        }
    }

    #[test]
    fn messages_of_another_conversation_are_worth_nothing() {
        let mut recorded = Pair::new(&code());
        let (_, _, old) = recorded.meet();
        let (_, consent) = recorded.joiner.consent(&machine(), 99).unwrap();
        // The same code once more, by mistake, with new randomness.
        let mut inviter = Inviter::new(&code(), [11; 32], 0);
        assert!(inviter.receive(&old[0], &owner(), 1).send.is_some());
        let step = inviter.receive(&old[2], &owner(), 1);
        assert_eq!(step.event, Some(InviterEvent::Failed(Failure::WrongCode)));
        assert_eq!(inviter.receive(&consent, &owner(), 1), Step { send: None, event: None });
    }

    #[test]
    fn a_message_that_comes_again_gets_the_same_answer_and_changes_nothing() {
        let mut pair = Pair::new(&code());
        let (_, _, messages) = pair.meet();
        for number in [0, 2] {
            let step = pair.invite(&messages[number]);
            assert_eq!(step, Step { send: Some(messages[number + 1].clone()), event: None });
        }
        for number in [1, 3] {
            assert_eq!(pair.join(&messages[number]), Step { send: None, event: None });
        }
        let (_, consent) = pair.joiner.consent(&machine(), 99).unwrap();
        pair.invite(&consent);
        assert_eq!(pair.invite(&consent), Step { send: None, event: None });
        let welcome = pair.inviter.welcome(5).unwrap();
        assert_eq!(pair.invite(&consent).send, Some(welcome.clone()));
        assert!(pair.join(&welcome).event.is_some());
        assert_eq!(pair.join(&welcome), Step { send: None, event: None });
    }

    #[test]
    fn a_message_is_not_taken_for_one_of_another_kind_or_from_the_other_side() {
        let mut pair = Pair::new(&code());
        pair.meet();
        let (_, consent) = pair.joiner.consent(&machine(), 99).unwrap();
        let as_refusal = [&[1, 8], &consent[2..]].concat();
        assert_eq!(pair.invite(&as_refusal), Step { send: None, event: None });
        let reflected = [&[1, 6], &consent[2..]].concat();
        assert_eq!(pair.join(&reflected), Step { send: None, event: None });
        assert!(pair.invite(&consent).event.is_some());
    }

    #[test]
    fn an_unsealed_end_counts_only_while_nothing_can_be_sealed() {
        let mut pair = Pair::new(&code());
        pair.meet();
        for failure in 0..=9 {
            assert_eq!(pair.join(&[1, 9, failure]), Step { send: None, event: None });
        }
        assert!(pair.joiner.consent(&machine(), 1).is_some());
    }
}

/// The joiner's side written anew out of the description of the bytes, by one who knows the code
/// but plays foul.
mod by_hand {
    use super::*;
    use chacha20poly1305::aead::{Aead, Payload};
    use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
    use hkdf::Hkdf;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    use sha2::{Digest, Sha256};
    use spake2::{Ed25519Group, Identity, Password, Spake2};

    fn seal(key: &[u8], salt: &[u8], kind: u8, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; 12];
        nonce[0] = kind;
        let aad = [&[1, kind], salt].concat();
        let sealed = ChaCha20Poly1305::new(key.into())
            .encrypt(&nonce.into(), Payload { msg: plain, aad: &aad })
            .unwrap();
        [&[1, kind][..], &sealed].concat()
    }

    fn request(
        name: &str,
        machine: PublicKey,
        sign: impl FnOnce(&[u8]) -> Signature,
    ) -> Step<InviterEvent> {
        let mut inviter = Inviter::new(&code(), [1; 32], 0);
        let (state, half) = Spake2::<Ed25519Group>::start_b_with_rng(
            &Password::new([5, 6, 7, 8_u8]),
            &Identity::new(b"rp-host inviter"),
            &Identity::new(b"rp-host joiner"),
            ChaCha20Rng::from_seed([3; 32]),
        );
        let hello = [&[1, 1][..], &half].concat();
        let answer = inviter.receive(&hello, &owner(), 1).send.unwrap();
        assert_eq!(answer[..2], [1, 2]);
        let shared = state.finish(&answer[2..]).unwrap();
        let salt = Sha256::digest([b"rp-host invitation 1\n", &hello[..], &answer].concat());
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(&salt), &shared).expand(b"joiner", &mut key).unwrap();
        let proof = sign(&[b"rp-host invitation, machine 1\n", &salt[..]].concat());
        let plain =
            serde_json::json!({"machine": machine, "name": name, "proof": proof.to_string()});
        let request = seal(&key, &salt, 3, plain.to_string().as_bytes());
        inviter.receive(&request, &owner(), 1)
    }

    // The two secret numbers of `code` fit into 11 bits, so its random bytes are the password.
    #[test]
    fn the_description_of_the_bytes_is_enough_to_join() {
        let step = request("atelier", machine().public(), |proof| machine().sign(proof));
        assert!(matches!(step.event, Some(InviterEvent::Compare { .. })), "{:?}", step.event);
    }

    #[test]
    fn naming_a_key_that_one_does_not_hold_ends_it() {
        let thief = SecretKey::from_seed(&[0x66; 32]);
        for proof in [
            request("x", machine().public(), |proof| thief.sign(proof)),
            request("x", machine().public(), |_| Signature::from_bytes([0; 64])),
            request("x", machine().public(), |_| machine().sign(b"something else")),
            request(&"x".repeat(129), machine().public(), |proof| machine().sign(proof)),
        ] {
            assert_eq!(proof.event, Some(InviterEvent::Failed(Failure::Forged)));
        }
    }
}

mod relays_that_lose {
    use super::*;

    proptest! {
        /// Whatever the relay loses, repeats and reorders: the machine joins once, as long as it
        /// says its last message again and something comes through at last.
        #[test]
        fn loss_repetition_and_reordering_do_not_matter(
            fates in proptest::collection::vec(0_u8..4, 0..40),
            order in any::<u64>(),
        ) {
            let mut pair = Pair::new(&code());
            let (mut to_inviter, mut to_joiner): (Vec<Vec<u8>>, Vec<Vec<u8>>) = Default::default();
            let (mut compared, mut consented, mut joined) = (0, 0, 0);
            let mut fates = fates.into_iter();
            let mut pass = move |queue: &mut Vec<Vec<u8>>, message: Vec<u8>| match fates.next() {
                Some(0) => {}
                Some(1) => queue.extend([message.clone(), message]),
                Some(2) => queue.insert(0, message),
                _ => queue.push(message),
            };
            for round in 0..60_u64 {
                if joined > 0 && round > 50 {
                    break;
                }
                pass(&mut to_inviter, pair.hello());
                let first = (order >> (round % 64)) & 1 == 1;
                for message in std::mem::take(&mut to_inviter) {
                    let step = pair.invite(&message);
                    if let Some(answer) = step.send {
                        pass(&mut to_joiner, answer);
                    }
                    match step.event {
                        Some(InviterEvent::Compare { .. }) => compared += 1,
                        Some(InviterEvent::Consented(_)) => {
                            consented += 1;
                            let welcome = pair.inviter.welcome(5).unwrap();
                            pass(&mut to_joiner, welcome);
                        }
                        Some(InviterEvent::Failed(failure)) => prop_assert!(false, "{failure}"),
                        None => {}
                    }
                }
                if first {
                    to_joiner.reverse();
                }
                for message in std::mem::take(&mut to_joiner) {
                    let step = pair.join(&message);
                    if let Some(answer) = step.send {
                        pass(&mut to_inviter, answer);
                    }
                    match step.event {
                        Some(JoinerEvent::Compare { .. }) => {
                            let (_, consent) = pair.joiner.consent(&machine(), 99).unwrap();
                            pass(&mut to_inviter, consent);
                        }
                        Some(JoinerEvent::Joined { .. }) => joined += 1,
                        Some(JoinerEvent::Failed(failure)) => prop_assert!(false, "{failure}"),
                        None => {}
                    }
                }
            }
            prop_assert_eq!((compared, consented, joined), (1, 1, 1));
        }

        #[test]
        fn no_bytes_make_either_side_panic(message: Vec<u8>, kind in 0_u8..11) {
            let mut pair = Pair::new(&code());
            let message = [&[1, kind], &message[..]].concat();
            pair.invite(&message);
            pair.join(&message);
        }
    }
}
